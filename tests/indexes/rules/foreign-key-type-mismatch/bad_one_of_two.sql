-- stock: the second column differs
CREATE TABLE places (shop int, shelf bigint, PRIMARY KEY (shop, shelf));
CREATE TABLE stock (
    id int PRIMARY KEY, shop int, shelf int, FOREIGN KEY (shop, shelf) REFERENCES places);
