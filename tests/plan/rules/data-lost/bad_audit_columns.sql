-- orders: who made its rows
CREATE TABLE orders (id bigint PRIMARY KEY, created_by text);
-- rows
INSERT INTO orders SELECT n, 'somebody' FROM generate_series(1, 10) AS n;
-- release
op.drop_audit_columns('orders');
