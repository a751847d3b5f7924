//! Conversion of domain types to and from columns, and the helpers that run a statement.

use std::cell::Cell;
use std::str::FromStr;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, Row, Statement, Transaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;
use crate::domain::id::{
    AccessKeyId, FlowId, GrantId, IntegrationId, LinkId, OauthAppId, ProfileId, ProjectId, SelectionId,
};
use crate::domain::secret::{Digest256, RowMac, Sealed};
use crate::domain::time::Timestamp;

/// Ids are stored as they are printed.
macro_rules! ids {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::from(self.to_string()))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str()?.parse().map_err(FromSqlError::other)
            }
        }
    )*};
}

ids!(AccessKeyId, FlowId, GrantId, IntegrationId, LinkId, OauthAppId, ProfileId, ProjectId, SelectionId);

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.as_millis()))
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::from_millis)
    }
}

impl ToSql for Digest256 {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.as_bytes())))
    }
}

impl FromSql for Digest256 {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = value.as_blob()?;
        Self::from_stored(bytes).ok_or(FromSqlError::InvalidBlobSize { expected_size: 32, blob_size: bytes.len() })
    }
}

impl ToSql for Sealed {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.as_bytes())))
    }
}

impl FromSql for Sealed {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_blob().map(|bytes| Self::from_bytes(bytes.to_vec()))
    }
}

/// A row being read. A value that does not fit its type is [`Error::Inconsistent`], with table, column and row.
///
/// Columns are found by name. Reading them in the order of the statement makes that cheap: the search begins behind the
/// column that was read last. Where that is not cheap enough, they are taken [`in_order`](Self::in_order).
pub(super) struct Fields<'r, 's> {
    table: &'static str,
    row: &'r Row<'s>,
    /// Where the next search begins.
    next: Cell<usize>,
    is_ordered: bool,
}

impl<'r, 's> Fields<'r, 's> {
    pub(super) fn of(table: &'static str, row: &'r Row<'s>) -> Self {
        Self { table, row, next: Cell::new(0), is_ordered: false }
    }

    /// For code that reads every column of the statement, one after the other. A build with debug assertions, such as
    /// that of the tests, checks that each is the one that was asked for.
    pub(super) fn in_order(table: &'static str, row: &'r Row<'s>) -> Self {
        Self { is_ordered: true, ..Self::of(table, row) }
    }

    /// The column's number.
    fn find(&self, column: &'static str) -> Result<usize, Error> {
        let statement: &Statement<'_> = self.row.as_ref();
        let next = self.next.get();
        let is_named = |at: &usize| statement.column_name(*at).is_ok_and(|name| name == column);
        if self.is_ordered {
            debug_assert!(is_named(&next), "{column} is not column {next}");
            self.next.set(next + 1);
            return Ok(next);
        }
        let count = statement.column_count();
        let at = (next..count).chain(0..next.min(count)).find(is_named);
        let at = at.ok_or_else(|| rusqlite::Error::InvalidColumnName(column.to_owned()))?;
        self.next.set(at + 1);
        Ok(at)
    }

    fn value(&self, column: &'static str) -> Result<ValueRef<'_>, Error> {
        Ok(self.row.get_ref(self.find(column)?)?)
    }

    pub(super) fn get<T: FromSql>(&self, column: &'static str) -> Result<T, Error> {
        use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
        self.row.get(self.find(column)?).map_err(|error| match error {
            FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) => {
                self.inconsistent(column)
            }
            other => other.into(),
        })
    }

    /// Text that is not copied.
    pub(super) fn text_if_any(&self, column: &'static str) -> Result<Option<&str>, Error> {
        self.value(column)?.as_str_or_null().map_err(|_| self.inconsistent(column))
    }

    pub(super) fn unsigned(&self, column: &'static str) -> Result<u64, Error> {
        u64::try_from(self.get::<i64>(column)?).map_err(|_| self.inconsistent(column))
    }

    /// The row's authentication code.
    pub(super) fn mac(&self) -> Result<Option<RowMac>, Error> {
        let (code, dek_id): (Option<Vec<u8>>, Option<u32>) = (self.get("mac")?, self.get("mac_dek_id")?);
        match (code.map(<[u8; 32]>::try_from), dek_id) {
            (Some(Ok(code)), Some(dek_id)) => Ok(Some(RowMac { dek_id, code })),
            (None, None) => Ok(None),
            _ => Err(self.inconsistent("mac")),
        }
    }

    /// A value that is stored as its name.
    pub(super) fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, Error> {
        self.text(column, self.value(column)?, |text| text.parse().ok())
    }

    /// A list of values that are stored as their names.
    pub(super) fn parsed_list<T: FromStr>(&self, column: &'static str) -> Result<Vec<T>, Error> {
        let names: Vec<String> = self.json(column)?;
        names.iter().map(|name| name.parse().map_err(|_| self.inconsistent(column))).collect()
    }

    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        self.text(column, self.value(column)?, |text| serde_json::from_str(text).ok())
    }

    pub(super) fn json_if_any<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>, Error> {
        match self.value(column)? {
            ValueRef::Null => Ok(None),
            value => self.text(column, value, |text| serde_json::from_str(text).ok()).map(Some),
        }
    }

    fn text<T>(
        &self,
        column: &'static str,
        value: ValueRef<'_>,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Error> {
        value.as_str().ok().and_then(read).ok_or_else(|| self.inconsistent(column))
    }

    pub(super) fn inconsistent(&self, column: &'static str) -> Error {
        Error::Inconsistent { table: self.table, column, row: self.row.get("id").unwrap_or_default() }
    }
}

/// JSON for a column.
pub(super) fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Sqlite(rusqlite::Error::ToSqlConversionFailure(error.into())))
}

/// The names of values, as JSON for a column.
pub(super) fn json_names(values: &[impl ToString]) -> Result<String, Error> {
    json(&values.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// An unsigned number for a column, at most `i64::MAX`.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The data key of a sealed value, for the column beside it.
pub(super) fn dek_id(
    sealed: &Sealed,
    table: &'static str,
    column: &'static str,
    row: &impl ToString,
) -> Result<u32, Error> {
    sealed.dek_id().ok_or_else(|| Error::Inconsistent { table, column, row: row.to_string() })
}

/// Text for searches that ignore case. Folds letter by letter, so that a needle always folds as it does inside its
/// haystack. Several small letters may share a capital one: a final sigma is a sigma. Where the capital letter is two
/// (`ß`), the small one stays.
pub(super) fn fold(text: &str) -> String {
    let capital = |letter: char| {
        let mut upper = letter.to_uppercase();
        if upper.len() == 1 { upper.next().unwrap_or(letter) } else { letter }
    };
    text.chars().flat_map(|letter| capital(letter).to_lowercase()).collect()
}

pub(super) type Params<'a> = &'a [(&'a str, &'a dyn ToSql)];

/// Binds parameters, which are found fastest in the order in which the statement names them first.
fn bind(statement: &mut Statement<'_>, params: Params<'_>) -> rusqlite::Result<()> {
    for (at, (name, value)) in (1..).zip(params) {
        let at = if statement.parameter_name(at) == Some(name) { Some(at) } else { statement.parameter_index(name)? };
        let at = at.ok_or_else(|| rusqlite::Error::InvalidParameterName((*name).to_owned()))?;
        statement.raw_bind_parameter(at, value)?;
    }
    Ok(())
}

fn prepare<'db>(db: &'db Connection, sql: &str) -> rusqlite::Result<CachedStatement<'db>> {
    #[cfg(test)]
    super::plans::check(db, sql);
    db.prepare_cached(sql)
}

/// The first row, if any.
pub(super) fn one<T>(
    db: &Connection,
    sql: &str,
    params: Params<'_>,
    read: impl FnOnce(&Row<'_>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let mut statement = prepare(db, sql)?;
    bind(&mut statement, params)?;
    let mut rows = statement.raw_query();
    rows.next()?.map(read).transpose()
}

/// All rows.
pub(super) fn all<T>(
    db: &Connection,
    sql: &str,
    params: Params<'_>,
    read: impl FnMut(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut statement = prepare(db, sql)?;
    bind(&mut statement, params)?;
    statement.raw_query().and_then(read).collect()
}

/// Shows each row, and keeps none.
pub(super) fn each(
    db: &Connection,
    sql: &str,
    params: Params<'_>,
    mut see: impl FnMut(&Row<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut statement = prepare(db, sql)?;
    bind(&mut statement, params)?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        see(row)?;
    }
    Ok(())
}

/// The number that the statement counts.
pub(super) fn count(db: &Connection, sql: &str, params: Params<'_>) -> Result<u64, Error> {
    let counted = one(db, sql, params, |row| Ok(row.get::<_, i64>(0)?))?;
    Ok(counted.and_then(|counted| u64::try_from(counted).ok()).unwrap_or(0))
}

/// Runs a change and returns the number of changed rows.
pub(super) fn change(db: &Transaction<'_>, sql: &str, params: Params<'_>) -> Result<usize, Error> {
    let mut statement = prepare(db, sql)?;
    bind(&mut statement, params)?;
    Ok(statement.raw_execute()?)
}

/// Runs a change of one row. [`Error::NotChanged`] when no row matches.
pub(super) fn change_one(db: &Transaction<'_>, sql: &str, params: Params<'_>) -> Result<(), Error> {
    match change(db, sql, params)? {
        0 => Err(Error::NotChanged),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_covers_unicode_and_ignores_neighbouring_letters() {
        assert_eq!(fold("ÄÖÜ ÉCLAIR ЖУК"), "äöü éclair жук");
        assert_eq!(fold("ΟΔΟΣ"), fold("οδοσ"), "a final sigma is the same letter");
        assert_eq!(fold("οδος"), fold("ΟΔΟΣ"));
        assert_eq!(fold("ığdır ſtraße µ"), fold("IĞDIR STRAße Μ"));
        assert!(fold("İstanbul").contains(&fold("STANBUL")));
    }

    #[test]
    fn unsigned_numbers_stop_at_the_largest_signed_one() {
        assert_eq!(signed(7), 7);
        assert_eq!(signed(u64::MAX), i64::MAX);
    }
}
