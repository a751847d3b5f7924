//! Users of a consent: the grants and open selections, in all projects, that its revocation would end.

use rusqlite::{Connection, named_params};

use super::Error;
use super::columns::{all, one};
use crate::domain::id::{GrantId, ProjectId};
use crate::domain::time::Timestamp;

/// Consents that one revocation ends: at a platform under a client id.
#[derive(Debug, Clone, Copy)]
pub struct Consents<'a> {
    pub platform: &'a str,
    pub client_id: &'a str,
    /// Only those of this subject; `None`: all.
    pub subject: Option<&'a str>,
}

/// Users of consents, the nearest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Users {
    Nobody,
    /// No caller may learn of these.
    OfOtherProjects,
    OfProject,
}

/// Leaps from one name to the next in an index.
const LIST_PLATFORMS: &str = "WITH RECURSIVE of_grants (name) AS (
        SELECT min(platform) FROM grants /* every project */
        UNION ALL
        SELECT (SELECT min(platform) FROM grants /* every project */ WHERE platform > name) FROM of_grants
        WHERE name IS NOT NULL),
    of_selections (name) AS (
        SELECT min(platform) FROM selections /* every project */ WHERE spent_by IS NULL
        UNION ALL
        SELECT (SELECT min(platform) FROM selections /* every project */
            WHERE spent_by IS NULL AND platform > name) FROM of_selections
        WHERE name IS NOT NULL)
    SELECT name FROM of_grants WHERE name IS NOT NULL
    UNION SELECT name FROM of_selections WHERE name IS NOT NULL";

/// Leaps from one client to the next in the index.
const LIST_CLIENTS: &str = "WITH RECURSIVE clients (client) AS (
        SELECT min(client_id) FROM grants /* every project */ WHERE platform = :platform
        UNION ALL
        SELECT (SELECT min(client_id) FROM grants /* every project */
            WHERE platform = :platform AND client_id > client) FROM clients
        WHERE client IS NOT NULL)
    SELECT client FROM clients WHERE client IS NOT NULL
    UNION
    SELECT f.client_id FROM selections AS s /* every project */
        JOIN flows AS f ON f.project_id = s.project_id AND f.id = s.flow_id
        WHERE s.platform = :platform AND s.spent_by IS NULL";

/// Lists the names of the platforms that have grants or selections, in all projects.
pub fn list_platforms(db: &Connection) -> Result<Vec<String>, Error> {
    all(db, LIST_PLATFORMS, &[], |row| Ok(row.get(0)?))
}

/// Lists the clients under which a platform has grants or selections, in all projects.
pub fn list_clients(db: &Connection, platform: &str) -> Result<Vec<String>, Error> {
    all(db, LIST_CLIENTS, named_params! {":platform": platform}, |row| Ok(row.get(0)?))
}

/// Finds users of the consents at `now`: grants other than `except`, and open selections.
pub fn users(
    db: &Connection,
    project: ProjectId,
    consents: &Consents<'_>,
    except: Option<GrantId>,
    now: Timestamp,
) -> Result<Users, Error> {
    // `= :subject` uses the index. `IS NOT NULL` matches every row.
    let subject = if consents.subject.is_some() { "= :subject" } else { "IS NOT :subject" };
    let sql = format!(
        "SELECT
            EXISTS (SELECT 1 FROM grants WHERE project_id = :project AND platform = :platform AND client_id = :client
                AND subject {subject} AND id IS NOT :except)
            OR EXISTS (SELECT 1 FROM selections AS s JOIN flows AS f ON f.project_id = s.project_id AND f.id = s.flow_id
                WHERE s.project_id = :project AND s.platform = :platform AND s.subject {subject}
                    AND s.spent_by IS NULL AND s.expires_at > :now AND f.client_id = :client) AS of_project,
            EXISTS (SELECT 1 FROM grants /* every project */ WHERE platform = :platform AND client_id = :client
                AND subject {subject} AND id IS NOT :except)
            OR EXISTS (SELECT 1 FROM selections AS s JOIN flows AS f ON f.project_id = s.project_id AND f.id = s.flow_id
                WHERE s.platform = :platform AND s.subject {subject}
                    AND s.spent_by IS NULL AND s.expires_at > :now AND f.client_id = :client) AS of_any"
    );
    let found = one(
        db,
        &sql,
        named_params! {
            ":project": project,
            ":platform": consents.platform,
            ":client": consents.client_id,
            ":subject": consents.subject,
            ":except": except,
            ":now": now,
        },
        |row| Ok((row.get::<_, bool>("of_project")?, row.get::<_, bool>("of_any")?)),
    )?;
    Ok(match found {
        Some((true, _)) => Users::OfProject,
        Some((false, true)) => Users::OfOtherProjects,
        _ => Users::Nobody,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Digest256;
    use crate::store::fixture::Fixture;
    use crate::store::{grants, selections};

    /// Users of the consents of "s" and of all consents, seen from both projects.
    fn seen(fixture: &Fixture, platform: &str, client_id: &str, except: Option<GrantId>, now: Timestamp) -> [Users; 4] {
        let users = |project, subject| {
            users(&fixture.db, project, &Consents { platform, client_id, subject }, except, now).unwrap()
        };
        let (ours, theirs) = (fixture.ours, fixture.theirs);
        [users(ours, Some("s")), users(ours, None), users(theirs, Some("s")), users(theirs, None)]
    }

    #[test]
    fn grants_of_any_project_use_a_consent() {
        use Users::{Nobody, OfOtherProjects, OfProject};
        let mut fixture = Fixture::new();
        let now = fixture.now();
        assert_eq!(seen(&fixture, "facebook", "client", None, now), [Nobody; 4]);
        let theirs = grants_of(&mut fixture, "s");
        assert_eq!(
            seen(&fixture, "facebook", "client", None, now),
            [OfOtherProjects, OfOtherProjects, OfProject, OfProject]
        );
        assert_eq!(seen(&fixture, "facebook", "client", Some(theirs), now), [Nobody; 4]);
        assert_eq!(seen(&fixture, "facebook", "other", None, now), [Nobody; 4]);
        assert_eq!(seen(&fixture, "linkedin", "client", None, now), [Nobody; 4]);
        fixture.grant("facebook", "somebody else");
        assert_eq!(
            seen(&fixture, "facebook", "client", Some(theirs), now),
            [Nobody, OfProject, Nobody, OfOtherProjects]
        );
    }

    /// A grant of the other project.
    fn grants_of(fixture: &mut Fixture, subject: &str) -> GrantId {
        let mut grant = fixture.new_grant("facebook", subject);
        grant.project_id = fixture.theirs;
        fixture.write(|db| grants::insert(db, &grant)).unwrap();
        grant.id
    }

    #[test]
    fn platforms_and_clients_of_any_project_are_listed_along_an_index() {
        let mut fixture = Fixture::new();
        let listed = |fixture: &Fixture, platform: &str| {
            [list_platforms(&fixture.db).unwrap(), list_clients(&fixture.db, platform).unwrap()]
        };
        assert_eq!(listed(&fixture, "acme"), [[""; 0]; 2]);
        for (platform, client_id, subject) in
            [("acme", "b", "s"), ("acme", "b", "t"), ("acme", "a", "s"), ("zeta", "c", "s")]
        {
            let mut grant = fixture.new_grant(platform, subject);
            grant.project_id = if client_id == "a" { fixture.theirs } else { fixture.ours };
            client_id.clone_into(&mut grant.client_id);
            fixture.write(|db| grants::insert(db, &grant)).unwrap();
        }
        fixture.pending("t");
        assert_eq!(listed(&fixture, "acme"), [vec!["acme", "facebook", "zeta"], vec!["a", "b"]]);
        assert_eq!(listed(&fixture, "facebook")[1], ["client"]);
        for list in [LIST_PLATFORMS, LIST_CLIENTS] {
            let mut statement = fixture.db.prepare(&format!("EXPLAIN QUERY PLAN {list}")).unwrap();
            let steps = statement.raw_query().mapped(|row| row.get("detail")).collect::<Result<Vec<String>, _>>();
            let is_found = |step: &String| {
                // The rows found so far, or a place in an index.
                ["SCAN clients", "SCAN of_grants", "SCAN of_selections"].contains(&step.as_str())
                    || (step.starts_with("SEARCH ") && step.contains(" INDEX "))
                    || !["SCAN ", "SEARCH "].iter().any(|walk| step.starts_with(walk))
            };
            let steps = steps.unwrap();
            assert!(steps.iter().all(is_found), "{steps:?}");
        }
    }

    #[test]
    fn an_open_selection_uses_a_consent() {
        use Users::{Nobody, OfOtherProjects, OfProject};
        let mut fixture = Fixture::new();
        let selection = fixture.pending("t");
        let now = fixture.now();
        let open = [OfProject, OfProject, OfOtherProjects, OfOtherProjects];
        assert_eq!(seen(&fixture, "facebook", "client", None, now), open);
        assert_eq!(seen(&fixture, "facebook", "other", None, now), [Nobody; 4]);
        assert_eq!(seen(&fixture, "facebook", "client", None, selection.expires_at), [Nobody; 4]);
        let (ours, by) = (fixture.ours, Digest256::of(b"choice"));
        fixture.write(|db| selections::spend(db, ours, selection.id, by, Vec::new(), now)).unwrap();
        assert_eq!(seen(&fixture, "facebook", "client", None, now), [Nobody; 4]);
    }
}
