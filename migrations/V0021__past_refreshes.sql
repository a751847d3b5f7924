-- The latest refreshes of each grant, for the console: a JSON array of at most ten, the latest first. A number is the
-- time of a success. An array has the time and the name of a failure.
--
-- A column, and not a table of refreshes: the statement that stores the outcome of a refresh writes the grant's row
-- anyway. The history costs no further statement, page or index, and about 150 bytes a grant. It ends with its grant.
ALTER TABLE grants ADD COLUMN past_refreshes TEXT NOT NULL DEFAULT '[]' CHECK (json_type(past_refreshes) = 'array');

PRAGMA user_version = 21;
