-- stock: another column stands between those of the key
CREATE TABLE places (shop int, shelf int, PRIMARY KEY (shop, shelf));
CREATE TABLE stock (
    id int PRIMARY KEY, shop int, shelf int, item int, FOREIGN KEY (shop, shelf) REFERENCES places);
CREATE INDEX ON stock (shop, item, shelf);
