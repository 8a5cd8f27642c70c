-- orders: nulls are distinct in one index only (PostgreSQL 15)
CREATE TABLE orders (id bigint PRIMARY KEY, number text);
DO $$ BEGIN
IF current_setting('server_version_num')::int >= 150000 THEN
    EXECUTE 'CREATE UNIQUE INDEX strict ON orders (number) NULLS NOT DISTINCT';
END IF; END $$;
CREATE UNIQUE INDEX lax ON orders (number, id);
