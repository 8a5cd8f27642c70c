-- orders: foreign keys refer to the one and to the other
CREATE TABLE orders (id bigint PRIMARY KEY, number text UNIQUE);
CREATE TABLE lines (id bigint PRIMARY KEY, number text REFERENCES orders (number));
CREATE INDEX ON lines (number);
ALTER TABLE orders ADD CONSTRAINT again UNIQUE (number);
CREATE TABLE parcels (id bigint PRIMARY KEY, number text);
CREATE INDEX ON parcels (number);
ALTER TABLE orders RENAME CONSTRAINT again TO aaa;
ALTER TABLE parcels ADD FOREIGN KEY (number) REFERENCES orders (number);
UPDATE pg_constraint SET conindid = 'aaa'::regclass WHERE conrelid = 'parcels'::regclass AND contype = 'f';
