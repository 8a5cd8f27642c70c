-- stock: the index leaves out only rows that refer to nothing
CREATE TABLE places (shop int, "the shelf" int, PRIMARY KEY (shop, "the shelf"));
CREATE TABLE stock (
    id int PRIMARY KEY, shop int, "the shelf" int,
    FOREIGN KEY (shop, "the shelf") REFERENCES places);
CREATE INDEX ON stock (shop, "the shelf") WHERE "the shelf" IS NOT NULL AND shop IS NOT NULL;
