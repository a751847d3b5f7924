-- Look-ups that passed over any number of rows become walks along an index: the accounts that fail at one platform,
-- what was connected through a link, and the keys of a profile.

DROP INDEX integrations_by_failure;
DROP INDEX integrations_by_failure_of_profile;
-- Step 1 of 3: index the accounts that fail by platform
CREATE INDEX integrations_by_failure ON integrations (project_id, platform, fails_from) WHERE fails_from IS NOT NULL;
-- Step 2 of 3: index the accounts that fail by profile and platform
CREATE INDEX integrations_by_failure_of_profile ON integrations (project_id, profile_id, platform, fails_from)
    WHERE fails_from IS NOT NULL;

-- Few entries have a link: reads of tokens, which are most, have none.
-- Step 3 of 3: index the audit trail by link
CREATE INDEX audit_by_link ON audit (project_id, link_id, action, object) WHERE link_id IS NOT NULL;

CREATE INDEX access_keys_by_profile ON access_keys (project_id, profile_id, id) WHERE profile_id IS NOT NULL;

PRAGMA user_version = 28;
