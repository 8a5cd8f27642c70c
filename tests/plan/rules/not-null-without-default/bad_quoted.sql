-- we"ird Orders: names that hurt, a comma in a type, and a column that is fine before it
CREATE TABLE "we""ird Orders" (id bigint PRIMARY KEY);
-- rows
INSERT INTO "we""ird Orders" VALUES (1);
-- release
ALTER TABLE "we""ird Orders" ADD COLUMN "a, b" numeric(10, 2) DEFAULT 0, ADD "Not ""Null" numeric(10, 2) NOT NULL;
