-- An access token that never expires outlives its refresh token: an account with one does not lapse. As in
-- `domain::renewal`, the time is null where either of the two is.
DROP VIEW integrations_failing;
CREATE VIEW integrations_failing (n, fails_from) AS
    SELECT i.n, CASE
        WHEN g.status <> 'active' OR i.status <> 'active' OR g.trouble IS NOT NULL OR g.in_doubt = 1 THEN 0
        WHEN i.tokens IS NOT NULL THEN NULL
        WHEN g.renewal <> 'refresh_token' THEN g.access_expires_at
        ELSE max(g.refresh_expires_at, g.access_expires_at)
    END
    FROM integrations AS i CROSS JOIN grants AS g ON g.project_id = i.project_id AND g.id = i.grant_id;

UPDATE integrations SET fails_from = NULL
WHERE fails_from > 0 AND (project_id, grant_id) IN (
    SELECT project_id, id FROM grants
    WHERE renewal = 'refresh_token' AND access_expires_at IS NULL AND refresh_expires_at IS NOT NULL
);

PRAGMA user_version = 24;
