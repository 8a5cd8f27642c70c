-- orders: a partition has one value
CREATE TABLE orders (id bigint, country text) PARTITION BY LIST (country);
CREATE TABLE orders_de PARTITION OF orders FOR VALUES IN ('DE');
