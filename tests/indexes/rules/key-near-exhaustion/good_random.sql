-- orders: keys are drawn by chance
CREATE TABLE orders (id integer PRIMARY KEY);
INSERT INTO orders SELECT abs(hashint8(n)) FROM generate_series(1, 2000) AS n ON CONFLICT DO NOTHING;
ANALYZE orders;
