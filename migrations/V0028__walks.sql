-- Few entries of the audit trail have a link: reads of tokens, which are most, have none.
CREATE INDEX audit_by_link ON audit (project_id, link_id, action, object) WHERE link_id IS NOT NULL;

PRAGMA user_version = 28;
