//! A person's decision, and the parameters that the browser brings back.

use super::authorize::back;
use super::desk::Desk;
use super::imitations::{Imitation, Scopes};
use super::record::{TokenKind, first};
use super::step::{Fault, Step};
use super::world::{Code, Pending};

/// A decision on the consent page: the fields of its form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    account: Option<String>,
    denies: bool,
    /// `None`: everything stays ticked.
    scopes: Option<Vec<String>>,
    /// `None`: everything stays ticked.
    pages: Option<Vec<String>>,
    fault: Option<String>,
}

impl Answer {
    /// The first account, with all scopes.
    #[must_use]
    pub fn allow() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn deny() -> Self {
        Self { denies: true, ..Self::default() }
    }

    /// Picks another account, by its id in the form.
    #[must_use]
    pub fn account(mut self, id: &str) -> Self {
        self.account = Some(id.to_owned());
        self
    }

    /// Leaves only these scopes ticked, of those that can be unticked.
    #[must_use]
    pub fn scopes(mut self, scopes: &[&str]) -> Self {
        self.scopes = Some(scopes.iter().map(|scope| (*scope).to_owned()).collect());
        self
    }

    /// Leaves only these pages ticked, by their ids, where people choose which pages an app may see.
    #[must_use]
    pub fn pages(mut self, pages: &[&str]) -> Self {
        self.pages = Some(pages.iter().map(|page| (*page).to_owned()).collect());
        self
    }

    /// Orders a fault for this connection, like the form's field `fault`.
    #[must_use]
    pub fn fault(mut self, fault: &str) -> Self {
        self.fault = Some(fault.to_owned());
        self
    }

    pub(super) fn of_form(fields: &[(String, String)]) -> Result<Self, Refused> {
        let given = |name| first(fields, name).filter(|value| !value.is_empty()).map(ToOwned::to_owned);
        let ticked = |wanted: &str| {
            let values = fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.clone());
            Some(values.collect::<Vec<String>>()).filter(|values| !values.is_empty())
        };
        Ok(Self {
            account: given("account"),
            denies: match given("decision").as_deref() {
                Some("allow") => false,
                Some("deny") => true,
                _ => return Err(Refused::new(400, "decision is neither allow nor deny")),
            },
            scopes: ticked("scope"),
            pages: ticked("page"),
            fault: given("fault"),
        })
    }
}

/// The platform shows a page instead of sending the browser on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why} (HTTP {status})")]
pub struct Refused {
    pub status: u16,
    /// Sentence for a person.
    pub why: String,
}

impl Refused {
    pub(super) fn new(status: u16, why: &str) -> Self {
        Self { status, why: why.to_owned() }
    }
}

/// Faults that can be ordered for after the consent.
enum Order {
    At(Step, Fault),
    CallbackEmpty,
    CallbackError,
    DeniedScopes,
}

impl Order {
    fn read(text: &str) -> Result<Self, Refused> {
        let read = |step: &str, fault: &str| {
            let step: Step = step.parse().map_err(|error| Refused::new(400, &format!("{error}")))?;
            let fault: Fault = fault.parse().map_err(|error| Refused::new(400, &format!("{error}")))?;
            Ok(Self::At(step, fault))
        };
        match text.split_once(':') {
            Some((step, fault)) => read(step, fault),
            None => match text {
                "callback_empty" => Ok(Self::CallbackEmpty),
                "callback_error" => Ok(Self::CallbackError),
                "denied_scopes" => Ok(Self::DeniedScopes),
                fault => read(Step::Token.into_str(), fault),
            },
        }
    }
}

/// Decides the pending request `id`, once; returns the URL that the browser is sent to.
pub(super) fn decide(desk: &mut Desk<'_>, id: &str, answer: &Answer) -> Result<String, Refused> {
    let imitation = desk.imitation;
    let order = answer.fault.as_deref().map(Order::read).transpose()?;
    let persona = match answer.account.as_deref() {
        Some(account) => imitation.personas.iter().find(|persona| persona.id == account),
        None => imitation.personas.first(),
    };
    let persona = persona.ok_or_else(|| Refused::new(400, "account names nobody on this page"))?;
    let now = desk.now();
    let pending = desk
        .world
        .pending
        .remove(id)
        .filter(|pending| pending.platform == imitation.name && now < pending.expires_at)
        .ok_or_else(|| {
            Refused::new(400, "This request was decided before or is more than ten minutes old: connect again")
        })?;
    let send = |parameters: &[(&str, &str)]| Ok(back(imitation, &pending.redirect_uri, &pending.state, parameters));
    if answer.denies {
        return send(imitation.authorize.denial);
    }
    let scopes = match order {
        Some(Order::CallbackEmpty) => return send(&[]),
        Some(Order::CallbackError) => {
            return send(&[("error", "server_error"), ("error_description", "The sandbox was told to fail")]);
        }
        Some(Order::DeniedScopes) => least(&imitation.authorize.scopes, &pending.scopes),
        Some(Order::At(..)) | None => granted(&imitation.authorize.scopes, &pending.scopes, answer.scopes.as_deref()),
    };
    let told = imitation.authorize.granted_scope.map(|(name, separator)| (name, scopes.join(separator)));
    let grant = desk.world.consent(&pending, persona, scopes);
    if let (Some(choice), Some(grant)) = (&imitation.choice, desk.world.grants.get_mut(&grant)) {
        grant.pages.clone_from(&answer.pages);
        let id = grant.id;
        (choice.decided)(desk.world, id);
    }
    if let (Some(Order::At(step, fault)), Some(grant)) = (order, desk.world.grants.get_mut(&grant)) {
        grant.faults.push((step, fault));
    }
    let code = issue_code(desk, imitation, &pending, grant);
    let mut parameters = vec![("code", code.as_str())];
    parameters.extend(told.as_ref().map(|(name, scopes)| (*name, scopes.as_str())));
    send(&parameters)
}

fn issue_code(desk: &mut Desk<'_>, imitation: &Imitation, pending: &Pending, grant: u64) -> String {
    let rules = &imitation.authorize.code;
    let value = format!("{}{}{}", rules.prefix, desk.world.random(), rules.suffix);
    let code = Code {
        grant,
        redirect_uri: pending.redirect_uri.clone(),
        challenge: pending.challenge.clone(),
        expires_at: desk.world.in_seconds(rules.life),
        spent: false,
    };
    desk.world.codes.insert(value.clone(), code);
    desk.world.issue(imitation.name, TokenKind::Code, &value);
    value
}

/// The requested scopes that stayed ticked or cannot be unticked.
fn granted(rules: &Scopes, asked: &[String], ticked: Option<&[String]>) -> Vec<String> {
    match (rules.fixed, ticked) {
        (Some(fixed), Some(ticked)) => {
            asked.iter().filter(|scope| fixed.contains(&scope.as_str()) || ticked.contains(scope)).cloned().collect()
        }
        _ => asked.to_vec(),
    }
}

/// The fewest scopes that a person can grant; at platforms without a choice the first scope.
fn least(rules: &Scopes, asked: &[String]) -> Vec<String> {
    let kept = |scope: &&String| {
        let scope = scope.as_str();
        rules.mandatory.contains(&scope) || rules.fixed.is_some_and(|fixed| fixed.contains(&scope))
    };
    let least: Vec<String> = asked.iter().filter(kept).cloned().collect();
    if least.is_empty() { asked.iter().take(1).cloned().collect() } else { least }
}
