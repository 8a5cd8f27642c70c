-- stock: the primary key begins with the columns in another order
CREATE TABLE places (shop int, shelf int, PRIMARY KEY (shop, shelf));
CREATE TABLE stock (
    shop int, shelf int, item int, PRIMARY KEY (shelf, shop, item),
    FOREIGN KEY (shop, shelf) REFERENCES places);
