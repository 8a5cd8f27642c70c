-- orders: a unique index that found duplicates
CREATE TABLE orders (id bigint PRIMARY KEY, number text);
CREATE UNIQUE INDEX by_number ON orders (lower(number) text_pattern_ops);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_number'::regclass;
