-- Connections that their caller confirms after the browser came back.

-- 1: the consent stays sealed in the flow's selection until the caller completes the flow, or its ten minutes are over.
ALTER TABLE flows ADD COLUMN needs_completion INTEGER NOT NULL DEFAULT 0 CHECK (needs_completion IN (0, 1));

PRAGMA user_version = 18;
