-- Indexes for what the broker looks up when it starts, so that a start takes as long with a million grants as with none.

-- Grants that wait because of a failure, by its kind: new credentials may resolve it, and so may a clock set right.
CREATE INDEX grants_in_trouble ON grants (trouble ->> 'kind', due_at) WHERE trouble IS NOT NULL;
-- Retries, latest last: one that is too far ahead was set by a wrong clock.
CREATE INDEX grants_by_retry ON grants (due_at) WHERE failures > 0;
-- Due grants by the age of their tokens: tokens from the future were issued while the clock was ahead.
CREATE INDEX grants_by_issue ON grants (issued_at) WHERE due_at IS NOT NULL AND failures = 0;

PRAGMA user_version = 10;
