-- lines: the index of the longer foreign key serves the shorter
CREATE TABLE orders (id bigint PRIMARY KEY);
CREATE TABLE parcels (order_id bigint, number int, PRIMARY KEY (order_id, number));
CREATE TABLE lines (
    id bigint PRIMARY KEY, order_id bigint REFERENCES orders, number int,
    FOREIGN KEY (order_id, number) REFERENCES parcels);
