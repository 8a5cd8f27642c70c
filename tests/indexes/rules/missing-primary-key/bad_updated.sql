-- events: rows are updated
CREATE TABLE events (at date);
INSERT INTO events VALUES ('2026-01-01');
UPDATE events SET at = '2026-01-02';
