-- events: no index at all
CREATE TABLE events (at timestamptz, what text);
