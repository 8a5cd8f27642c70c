-- notes: it has no index
CREATE TABLE notes (id bigint, body text);
-- rows
INSERT INTO notes VALUES (1, 'x');
-- release
ALTER TABLE notes ADD COLUMN more text; ALTER TABLE notes ALTER COLUMN id TYPE numeric;
