-- orders_view: views have no keys
CREATE TABLE orders (id bigint PRIMARY KEY);
CREATE VIEW orders_view AS SELECT * FROM orders;
CREATE MATERIALIZED VIEW orders_now AS SELECT * FROM orders;
