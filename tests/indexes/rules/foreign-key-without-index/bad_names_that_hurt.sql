-- we"ird Örders: names need quotes, and are as long as can be
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE "we""ird Örders" (
    "select" bigint PRIMARY KEY,
    "Ünï ""quoted"" column that is as long as a column can be, nearly" bigint REFERENCES customers);
