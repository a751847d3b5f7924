//! Rules that a reviewer would otherwise have to remember. Reads the sources with syn and checks them against the two
//! tables in `src/lib.rs`: which room may know which, and where a crate is at home. Also: every file says what it is,
//! none is too long, tenant statements name their project, and no platform or metric is half there.
//!
//! A check takes what it reads and returns its complaints, so that `each_check_can_fail` can feed it bad sources.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test stops at a surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use postpeer::telemetry::{Kind, METRICS, Metric, REFRESH_OUTCOMES};
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};

/// The most lines of a file, without its tests.
const MOST_LINES: usize = 450;

/// A source file below `src`.
struct Source {
    /// From `src`: `store/grants.rs`.
    path: String,
    room: String,
    /// Lines outside `#[cfg(test)]` items.
    lines: usize,
    says_what_it_is: bool,
    /// Strings anywhere in the file, tests included.
    strings: Vec<String>,
    /// Fields of types with a derived `Debug` that hold a secret as plain text, by their names.
    plain_secrets: Vec<String>,
    /// Everything outside `#[cfg(test)]` items. Empty for a file that such an item declares.
    code: Code,
}

/// What a piece of code names.
#[derive(Default)]
struct Code {
    /// Modules on the way from the crate's root to this place.
    module: Vec<String>,
    /// Paths of at least two segments, and imports of a single one. Those that start at `crate`, `self` or `super` are
    /// resolved and start with `crate`.
    paths: Vec<Vec<String>>,
    /// Literals, documentation excepted.
    strings: Vec<String>,
    recordings: Vec<Recording>,
    /// Values in calls of the log's macros that are an error without its causes.
    bare_errors: Vec<String>,
}

/// A call of `counter!`, `gauge!` or `histogram!`.
struct Recording {
    kind: String,
    /// The first literal in the call. `None` where the name is computed.
    name: Option<String>,
    labels: BTreeSet<String>,
}

/// Removes `#[cfg(test)]` items and counts their lines.
#[derive(Default)]
struct TestRemover {
    lines: usize,
    /// Names of removed `mod` items that are files.
    files: Vec<String>,
}

impl TestRemover {
    /// True for code outside `#[cfg(test)]`.
    fn keep(&mut self, item: &impl ToTokens) -> bool {
        let attributes = |input: syn::parse::ParseStream| {
            let attributes = syn::Attribute::parse_outer(input)?;
            input.parse::<TokenStream>().map(|_| attributes)
        };
        let is_test = |attribute: &syn::Attribute| attribute.to_token_stream().to_string() == "# [cfg (test)]";
        let tokens = item.to_token_stream();
        if !syn::parse::Parser::parse2(attributes, tokens.clone()).unwrap().iter().any(is_test) {
            return true;
        }
        let mut spans = tokens.clone().into_iter().map(|token| token.span());
        let first = spans.next().unwrap();
        self.lines += spans.last().unwrap_or(first).end().line - first.start().line + 1;
        if let Ok(syn::Item::Mod(syn::ItemMod { ident, content: None, .. })) = syn::parse2(tokens) {
            self.files.push(ident.to_string());
        }
        false
    }
}

impl VisitMut for TestRemover {
    fn visit_block_mut(&mut self, block: &mut syn::Block) {
        block.stmts.retain(|statement| self.keep(statement));
        visit_mut::visit_block_mut(self, block);
    }

    fn visit_file_mut(&mut self, file: &mut syn::File) {
        file.items.retain(|item| self.keep(item));
        visit_mut::visit_file_mut(self, file);
    }

    fn visit_item_impl_mut(&mut self, item: &mut syn::ItemImpl) {
        item.items.retain(|item| self.keep(item));
        visit_mut::visit_item_impl_mut(self, item);
    }

    fn visit_item_mod_mut(&mut self, item: &mut syn::ItemMod) {
        if let Some((_, items)) = &mut item.content {
            items.retain(|item| self.keep(item));
        }
        visit_mut::visit_item_mod_mut(self, item);
    }
}

/// Finds secrets in plain text in what derives `Debug`.
#[derive(Default)]
struct SecretFinder(Vec<String>);

impl SecretFinder {
    fn look(&mut self, attributes: &[syn::Attribute], fields: &syn::Fields) {
        let words =
            |tokens: String| tokens.split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect::<Vec<_>>();
        let derives = attributes.iter().filter(|attribute| attribute.path().is_ident("derive"));
        if !derives
            .map(|derive| words(derive.to_token_stream().to_string()))
            .any(|words| words.contains(&"Debug".into()))
        {
            return;
        }
        for field in fields {
            let Some(name) = field.ident.as_ref().map(ToString::to_string) else { continue };
            let is_secret = name
                .split('_')
                .next_back()
                .is_some_and(|word| ["password", "secret", "secrets", "token", "tokens", "verifier"].contains(&word));
            let kind = words(field.ty.to_token_stream().to_string());
            let is_text = ["String", "str", "u8"].iter().any(|text| kind.contains(&(*text).to_owned()));
            // A text of the program itself is no secret.
            if is_secret && is_text && !kind.contains(&"static".to_owned()) {
                self.0.push(name);
            }
        }
    }
}

impl VisitMut for SecretFinder {
    fn visit_item_struct_mut(&mut self, item: &mut syn::ItemStruct) {
        self.look(&item.attrs, &item.fields);
    }

    fn visit_item_enum_mut(&mut self, item: &mut syn::ItemEnum) {
        for variant in &item.variants {
            self.look(&item.attrs, &variant.fields);
        }
    }
}

impl Code {
    /// Reads tokens, those of macro calls included. `prefix` is the path before the braces of an import.
    fn read(&mut self, tokens: TokenStream, prefix: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Group(group) if is_documentation(&tokens[..at - 1], group) => {}
                TokenTree::Group(group) => self.read(group.stream(), prefix),
                TokenTree::Ident(_) => at = self.read_path(&tokens, at - 1, prefix),
                TokenTree::Literal(literal) => self.strings.extend(string(literal)),
                TokenTree::Punct(_) => {}
            }
        }
    }

    /// Reads a path, an inline module or a call of a metric's macro. Returns where to read on.
    fn read_path(&mut self, tokens: &[TokenTree], start: usize, prefix: &[String]) -> usize {
        let imported = tokens[..start].last().is_some_and(|before| is_ident(before, "use"));
        let renamed = tokens[..start].last().is_some_and(|before| is_ident(before, "as"));
        let mut path = prefix.to_vec();
        path.push(tokens[start].to_string());
        let mut at = start + 1;
        while let [TokenTree::Punct(one), TokenTree::Punct(two), next, ..] = &tokens[at..]
            && one.as_char() == ':'
            && two.as_char() == ':'
        {
            match next {
                TokenTree::Group(list) => {
                    self.read(list.stream(), &path);
                    return at + 3;
                }
                TokenTree::Ident(_) => path.push(next.to_string()),
                TokenTree::Punct(star) if star.as_char() == '*' => path.push("*".to_owned()),
                _ => break,
            }
            at += 3;
        }
        match &tokens[at..] {
            [TokenTree::Ident(name), TokenTree::Group(body), ..] if path == ["mod"] => {
                self.module.push(name.to_string());
                self.read(body.stream(), &[]);
                self.module.pop();
                return at + 2;
            }
            [TokenTree::Punct(bang), TokenTree::Group(call), ..]
                if bang.as_char() == '!'
                    && ["counter", "gauge", "histogram"].contains(&path.last().unwrap().as_str()) =>
            {
                self.recordings.push(Recording::read(path.last().unwrap(), call.stream()));
            }
            [TokenTree::Punct(bang), TokenTree::Group(call), ..]
                if bang.as_char() == '!' && path.first().is_some_and(|name| name == "tracing") =>
            {
                self.bare_errors.extend(bare_errors(call.stream()));
            }
            _ => {}
        }
        // `use a::{b as c}`: `c` is a name of its own, `x as a::B` is not.
        if (path.len() > 1 && !(renamed && at == start + 1)) || imported {
            self.paths.push(resolve(path, &self.module));
        }
        at
    }
}

impl Recording {
    fn read(kind: &str, call: TokenStream) -> Self {
        let tokens: Vec<TokenTree> = call.into_iter().collect();
        let literal = |token: &TokenTree| match token {
            TokenTree::Literal(literal) => string(literal),
            _ => None,
        };
        let labels = tokens.windows(3).filter(|window| is_punct(&window[1], '=') && is_punct(&window[2], '>'));
        Self {
            kind: kind.to_owned(),
            name: tokens.first().and_then(literal),
            // A label that is computed is in no table.
            labels: labels.map(|window| literal(&window[0]).unwrap_or_else(|| window[0].to_string())).collect(),
        }
    }
}

/// Values in a call of a log's macro that are an error itself, of which only its own sentence would be logged.
fn bare_errors(call: TokenStream) -> Vec<String> {
    let tokens: Vec<TokenTree> = call.into_iter().collect();
    let is_bare = |value: &&[TokenTree]| match value {
        [.., sigil, error] if is_punct(sigil, '%') || is_punct(sigil, '?') => is_ident(error, "error"),
        value => value.iter().any(|token| is_ident(token, "dyn")),
    };
    let bare = tokens.split(|token| is_punct(token, ',')).filter(is_bare);
    bare.map(|value| value.iter().cloned().collect::<TokenStream>().to_string()).collect()
}

fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

/// True for the brackets of `#[doc = …]` and `#![doc = …]`.
fn is_documentation(before: &[TokenTree], group: &proc_macro2::Group) -> bool {
    before.last().is_some_and(|token| is_punct(token, '#') || is_punct(token, '!'))
        && group.stream().into_iter().next().is_some_and(|token| is_ident(&token, "doc"))
}

fn string(literal: &proc_macro2::Literal) -> Option<String> {
    match syn::Lit::new(literal.clone()) {
        syn::Lit::Str(string) => Some(string.value()),
        _ => None,
    }
}

/// Rewrites a path from `self`, `super` or this package's name to one from `crate`.
fn resolve(path: Vec<String>, module: &[String]) -> Vec<String> {
    let mut module = module.to_vec();
    let mut rest = path.as_slice();
    match rest[0].as_str() {
        "crate" | "postpeer" => module.clear(),
        "self" => {}
        "super" => {
            while rest.first().is_some_and(|segment| segment == "super") {
                module.pop();
                rest = &rest[1..];
            }
            return std::iter::once("crate".to_owned()).chain(module).chain(rest.iter().cloned()).collect();
        }
        _ => return path,
    }
    std::iter::once("crate".to_owned()).chain(module).chain(rest[1..].iter().cloned()).collect()
}

/// Modules on the way to a file: `store`, `open` for `store/open.rs` and `store/open/mod.rs`.
fn module(path: &str) -> Vec<String> {
    let path = path.strip_suffix(".rs").unwrap();
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').filter(|part| *part != "lib").map(str::to_owned).collect()
}

/// Reads sources, each a path from `src` and its text.
fn read<'a>(sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Source> {
    let mut tests = BTreeSet::new();
    let mut read = Vec::new();
    for (path, text) in sources {
        let mut file = syn::parse_file(text).unwrap_or_else(|error| panic!("src/{path}: {error}"));
        let mut all = Code::default();
        all.read(file.to_token_stream(), &[]);
        let mut remover = TestRemover::default();
        remover.visit_file_mut(&mut file);
        let mut code = Code { module: module(path), ..Code::default() };
        code.read(file.to_token_stream(), &[]);
        let mut secrets = SecretFinder::default();
        secrets.visit_file_mut(&mut file);
        tests.extend(remover.files.into_iter().map(|name| [module(path), vec![name]].concat()));
        read.push(Source {
            path: path.to_owned(),
            room: path.split(['/', '.']).next().unwrap().to_owned(),
            lines: text.lines().count() - remover.lines,
            says_what_it_is: text.starts_with("//!"),
            strings: all.strings,
            plain_secrets: secrets.0,
            code,
        });
    }
    for source in &mut read {
        if tests.iter().any(|test| source.code.module.starts_with(test)) {
            source.code = Code::default();
            source.plain_secrets.clear();
        }
    }
    read
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file in a folder of the repository, by its path from there.
fn files(folder: &str) -> BTreeMap<String, String> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                found.push(path);
            }
        }
    }
    let root = root().join(folder);
    let mut found = Vec::new();
    walk(&root, &mut found);
    let named = |path: PathBuf| (path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), path);
    found.into_iter().map(named).map(|(name, path)| (name, fs::read_to_string(path).unwrap())).collect()
}

/// Reads every file in a folder of the repository.
fn read_folder(folder: &str) -> Vec<Source> {
    read(files(folder).iter().map(|(path, text)| (path.as_str(), text.as_str())))
}

/// Every source file below `src`.
fn sources() -> &'static [Source] {
    static READ: LazyLock<Vec<Source>> = LazyLock::new(|| read_folder("src"));
    &READ
}

/// A table of the architecture: lines `name: others, …` in the order in which they are written.
type Table = Vec<(String, BTreeSet<String>)>;

/// The table below a heading of `src/lib.rs`.
fn table(lib: &str, heading: &str) -> Table {
    let section = lib.split(&format!("//! # {heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading:?} in lib.rs"));
    let block = section.split("//! ```").nth(1).unwrap();
    let lines = block.lines().skip(1).map(|line| line.trim_start_matches("//!").trim()).filter(|line| !line.is_empty());
    let row = |line: &str| {
        let (name, others) = line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?}"));
        let others = others.split(',').map(|other| other.trim().to_owned()).filter(|other| !other.is_empty());
        (name.to_owned(), others.collect())
    };
    lines.map(row).collect()
}

fn lib() -> String {
    fs::read_to_string(root().join("src/lib.rs")).unwrap()
}

/// Fails with every complaint.
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Rooms that know more, or less, than the table says, and rows out of order.
fn room_complaints(sources: &[Source], table: &Table) -> Vec<String> {
    let rooms: BTreeSet<&str> =
        sources.iter().map(|source| source.room.as_str()).filter(|room| *room != "lib").collect();
    let mut complaints = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources {
        let row = table.iter().find(|(room, _)| *room == source.room);
        for path in source.code.paths.iter().filter(|path| path[0] == "crate") {
            match path.get(1).map(String::as_str) {
                // An import of the root itself could reach every room unseen.
                None | Some("*" | "self") => complaints.push(format!("src/{} imports the crate's root", source.path)),
                Some(room) if room == source.room || !rooms.contains(room) => {}
                Some(room) if row.is_some_and(|(_, known)| known.contains(room)) => {
                    used.insert((source.room.as_str(), room.to_owned()));
                }
                Some(room) => complaints.push(format!(
                    "src/{} names {room}: the table \"Who may know whom\" in src/lib.rs does not allow that",
                    source.path
                )),
            }
        }
    }
    for room in &rooms {
        if !table.iter().any(|(listed, _)| listed == room) {
            complaints.push(format!("src/lib.rs has no row for {room}: say which rooms it may know"));
        }
    }
    for (at, (room, known)) in table.iter().enumerate() {
        if !rooms.contains(room.as_str()) {
            complaints.push(format!("src/lib.rs has a row for {room}, and there is no such room"));
        }
        for other in known {
            if !used.contains(&(room.as_str(), other.clone())) {
                complaints.push(format!("src/lib.rs lets {room} know {other}, which it never names: take it out"));
            }
            if !table[at + 1..].iter().any(|(below, _)| below == other) {
                complaints.push(format!("src/lib.rs lets {room} know {other}, which is not in a row below"));
            }
        }
    }
    complaints
}

/// Crates named outside their rooms, and rooms that do not name a crate that is at home there.
fn crate_complaints(sources: &[Source], table: &Table) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources {
        for path in &source.code.paths {
            let Some((name, rooms)) = table.iter().find(|(name, _)| *name == path[0]) else { continue };
            used.insert((name.as_str(), source.room.as_str()));
            if !rooms.contains(&source.room) {
                complaints.push(format!(
                    "src/{} names the crate {name}: \"Where a crate is at home\" in src/lib.rs says which room may",
                    source.path
                ));
            }
        }
    }
    for (name, rooms) in table {
        for room in rooms.iter().filter(|room| !used.contains(&(name.as_str(), room.as_str()))) {
            complaints.push(format!("src/lib.rs lets {room} name the crate {name}, which it never does: take it out"));
        }
    }
    complaints
}

/// Ways to talk to the network past `outbound` that no lint finds, because a trait or a socket makes the client.
fn client_complaints(sources: &[Source]) -> Vec<String> {
    let ways = [("Client", "default"), ("ClientBuilder", "default"), ("reqwest", "get"), ("TcpStream", "connect")];
    let paths = sources.iter().flat_map(|source| source.code.paths.iter().map(move |path| (&source.path, path)));
    let made = paths.filter(|(_, path)| {
        ways.iter().any(|(kind, function)| path.ends_with(&[(*kind).to_owned(), (*function).to_owned()]))
    });
    made.map(|(file, path)| format!("src/{file} calls {}: all calls go through outbound", path.join("::"))).collect()
}

fn sql_complaints(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.room != "store") {
        for string in &source.strings {
            let words = ["SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM", "PRAGMA "];
            if words.iter().any(|word| string.trim_start().starts_with(word)) {
                complaints.push(format!("src/{} holds SQL, which belongs into src/store: {string}", source.path));
            }
        }
    }
    complaints
}

/// Tables and views whose rows belong to a project: those with a `project_id` after all migrations.
fn tenant_tables() -> &'static BTreeSet<String> {
    static READ: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let mut migrations: Vec<PathBuf> =
            fs::read_dir(root().join("migrations")).unwrap().map(|entry| entry.unwrap().path()).collect();
        migrations.sort();
        let db = rusqlite::Connection::open_in_memory().unwrap();
        db.pragma_update(None, "foreign_keys", false).unwrap();
        for migration in migrations {
            db.execute_batch(&fs::read_to_string(&migration).unwrap()).unwrap();
        }
        let tables =
            "SELECT t.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c WHERE c.name = 'project_id'";
        let mut found = db.prepare(tables).unwrap();
        found.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    });
    &READ
}

/// Statements on a tenant's row that name no project, and the number of statements on tenants' rows.
fn tenant_complaints(sources: &[Source]) -> (Vec<String>, usize) {
    let mut complaints = Vec::new();
    let mut checked = 0;
    for source in sources.iter().filter(|source| source.room == "store") {
        for statement in &source.code.strings {
            let words: Vec<String> = statement
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .filter(|word| !word.is_empty())
                .map(str::to_lowercase)
                .collect();
            let is_statement = words.first().is_some_and(|first| {
                ["delete", "insert", "replace", "select", "update", "with"].contains(&first.as_str())
            });
            if !is_statement || !words.iter().any(|word| tenant_tables().contains(word)) {
                continue;
            }
            checked += 1;
            // Purges, counts and look-ups by a credential, such as a flow's state, are for the whole broker. A column
            // that is only read binds nothing: the project must be given.
            let ways = ["/* every project */", ":project", "project_id = ?", "project_id = {row}."];
            if !ways.iter().any(|way| statement.contains(way)) {
                complaints.push(format!(
                    "src/{} reads or writes rows of any project: compare project_id, or say /* every project */: {statement}",
                    source.path
                ));
            }
        }
    }
    (complaints, checked)
}

fn secret_complaints(sources: &[Source]) -> Vec<String> {
    let named = |source: &Source| {
        let path = source.path.clone();
        source.plain_secrets.clone().into_iter().map(move |name| {
            format!("src/{path}: {name} is plain text in a type that derives Debug: make it a SecretString")
        })
    };
    // The sandbox's secrets are in its documentation.
    sources.iter().filter(|source| source.room != "sandbox").flat_map(named).collect()
}

/// Recordings that the table of metrics does not describe, and metrics that nobody records.
fn metric_complaints(sources: &[Source], metrics: &[Metric]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut recorded = BTreeSet::from(["postpeer_build_info"]);
    // This file records only zeros, so that each metric is there from the start.
    for source in sources.iter().filter(|source| source.path != "telemetry/metrics.rs") {
        for Recording { kind, name, labels } in &source.code.recordings {
            let path = &source.path;
            let Some(name) = name else {
                complaints.push(format!("src/{path} records a {kind} whose name is not written out: use a literal"));
                continue;
            };
            let Some(metric) = metrics.iter().find(|metric| metric.name == *name) else {
                complaints.push(format!("src/{path} records {name}, which is not in the table of metrics"));
                continue;
            };
            let described = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram(_) => "histogram",
            };
            if kind != described {
                complaints.push(format!("src/{path} records {name}, a {described}, as a {kind}"));
            }
            if !labels.iter().map(String::as_str).eq(metric.labels.iter().copied().collect::<BTreeSet<_>>()) {
                complaints.push(format!("src/{path} records {name} with the labels {labels:?}"));
            }
            recorded.insert(metric.name);
        }
    }
    let unused = metrics.iter().filter(|metric| !recorded.contains(metric.name));
    complaints.extend(unused.map(|metric| format!("{} is in the table of metrics and recorded nowhere", metric.name)));
    complaints
}

/// Errors that are logged without their causes.
fn cause_complaints(sources: &[Source]) -> Vec<String> {
    let bare = sources.iter().flat_map(|source| source.code.bare_errors.iter().map(move |value| (&source.path, value)));
    bare.map(|(path, value)| format!("src/{path} logs `{value}` without its causes: write error = %chain(&error)"))
        .collect()
}

fn size_complaints(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|source| source.lines > MOST_LINES);
    long.map(|source| format!("src/{} has {} lines without its tests: split it", source.path, source.lines)).collect()
}

fn silence_complaints(folder: &str, sources: &[Source]) -> Vec<String> {
    let silent = sources.iter().filter(|source| !source.says_what_it_is);
    silent.map(|source| format!("{folder}/{} does not open with //!: say what it is", source.path)).collect()
}

#[test]
fn rooms_know_only_what_the_table_allows() {
    assert_none(&room_complaints(sources(), &table(&lib(), "Who may know whom")));
}

#[test]
fn each_crate_is_named_only_where_it_is_at_home() {
    assert_none(&crate_complaints(sources(), &table(&lib(), "Where a crate is at home")));
}

#[test]
fn there_is_one_http_client() {
    assert_none(&client_complaints(sources()));
}

#[test]
fn sql_is_written_in_the_store_only() {
    assert_none(&sql_complaints(sources()));
}

#[test]
fn every_statement_on_a_tenants_row_carries_the_project() {
    let (complaints, checked) = tenant_complaints(sources());
    assert_none(&complaints);
    assert!(checked >= 20, "only {checked} statements were found: does this test still read them?");
    for table in ["access_keys", "flows", "grants", "token_reads"] {
        assert!(tenant_tables().contains(table), "{:?}", tenant_tables());
    }
}

#[test]
fn what_can_be_printed_holds_no_secret_in_plain_text() {
    assert_none(&secret_complaints(sources()));
}

#[test]
fn recorded_metrics_and_the_table_of_metrics_agree() {
    assert_none(&metric_complaints(sources(), METRICS));
}

#[test]
fn the_rules_for_alerts_name_metrics_that_there_are() {
    let rules = std::fs::read_to_string(root().join("packaging/alerts.yaml")).unwrap();
    let expressions: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for expression in &expressions {
        for name in expression.split(|c| !is_word(c)).filter(|word| word.starts_with("postpeer_")) {
            assert!(METRICS.iter().any(|metric| metric.name == name), "{name}");
        }
        for outcomes in expression.split("outcome=").skip(1).filter_map(|rest| rest.split('"').nth(1)) {
            assert!(outcomes.split('|').all(|outcome| REFRESH_OUTCOMES.contains(&outcome)), "{outcomes}");
        }
    }
    // An outage of a platform makes no refresh late: each attempt that fails is due again later.
    assert!(expressions.iter().any(|expression| expression.contains("transient")), "{expressions:?}");
    let told = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    for copied in told.lines().filter_map(|line| line.trim().strip_prefix("expr: ")) {
        assert!(expressions.contains(&copied), "{copied}");
    }
}

#[test]
fn errors_are_logged_with_their_causes() {
    assert_none(&cause_complaints(sources()));
}

#[test]
fn every_file_says_what_it_is() {
    for folder in ["benches", "src", "tests"] {
        assert_none(&silence_complaints(folder, &read_folder(folder)));
    }
}

#[test]
fn no_file_grows_past_reading() {
    assert_none(&size_complaints(sources()));
}

/// A source file each, with the complaint that it must lead to.
const BAD_SOURCES: &[(&str, &str, &str)] = &[
    ("http/new.rs", "//! An import.\nuse crate::store::Store;", "names store"),
    ("http/new.rs", "//! A list.\nuse crate::{broker::Broker, store};", "names store"),
    ("http/new.rs", "//! A path.\nfn f() -> crate::store::Store {}", "names store"),
    ("http/new.rs", "//! A long way.\nuse super::super::store;", "names store"),
    ("http/mod.rs", "//! A short way.\nuse super::store;\nuse super::broker;", "names store"),
    ("http/mod.rs", "//! From inside.\nuse crate::broker;\nmod a { use super::super::store; }", "names store"),
    ("http/new.rs", "//! A macro.\nmacro_rules! m { () => { $crate::store::find() } }", "names store"),
    ("http/new.rs", "//! In a call.\nfn f() { vec![crate::store::find()] }", "names store"),
    ("http/new.rs", "//! After a test.\n#[cfg(test)]\nmod tests {}\nuse crate::store;", "names store"),
    ("http/new.rs", "//! A visible test.\n#[cfg(not(test))]\nmod a { use crate::store; }", "names store"),
    ("http/new.rs", "//! A rename.\nuse crate as house;", "imports the crate's root"),
    ("http/new.rs", "//! Everything.\nuse crate::*;", "imports the crate's root"),
    ("http/mod.rs", "//! No broker.", "lets http know broker, which it never names"),
    ("store/mod.rs", "//! Up.\nuse rusqlite::Connection;\nuse crate::broker;", "names broker"),
    ("vault/mod.rs", "//! A new room.", "no row for vault"),
    ("http/mod.rs", "", "lets http know broker, which it never names"),
    ("http/new.rs", "//! A crate.\nuse rusqlite::Row;", "names the crate rusqlite"),
    ("http/new.rs", "//! A crate.\nuse {rusqlite::Row, std::fs};", "names the crate rusqlite"),
    ("http/new.rs", "//! A crate.\nuse rusqlite as sqlite;", "names the crate rusqlite"),
    ("http/new.rs", "//! A crate.\nfn f() { log!(rusqlite::params![1]) }", "names the crate rusqlite"),
    ("store/mod.rs", "//! No crate.", "lets store name the crate rusqlite, which it never does"),
    (
        "http/new.rs",
        "//! A client.\nfn f() { let a = <_>::from(reqwest::Client::default()); }",
        "calls reqwest::Client",
    ),
    ("http/new.rs", "//! A client.\nfn f() { tokio::net::TcpStream::connect(a).await }", "calls tokio::net::TcpStr"),
    ("http/new.rs", "//! SQL.\nconst Q: &str = \"SELECT 1\";", "holds SQL"),
    ("http/new.rs", "//! SQL.\n#[cfg(test)]\nmod tests { fn f() { run!(r#\"\n  UPDATE a\"#) } }", "holds SQL"),
    ("store/new.rs", "//! SQL.\nfn f() { run!(\"DELETE FROM grants\") }", "DELETE FROM grants"),
    (
        "store/new.rs",
        "//! SQL.\nconst Q: &str = \"SELECT project_id FROM token_reads WHERE reads > 1\";",
        "any project",
    ),
    (
        "store/new.rs",
        "//! SQL.\nconst Q: &str = \"UPDATE links SET a = 1 WHERE id = ?1 RETURNING project_id\";",
        "RETURN",
    ),
    ("store/new.rs", "//! SQL.\nconst Q: &str = r\"WITH a AS (SELECT 1 FROM flows) SELECT 2\";", "FROM flows"),
    (
        "http/new.rs",
        "//! A secret.\n#[derive(Clone, Debug)]\nstruct A { client_secret: Option<String> }",
        "client_secret is",
    ),
    ("http/new.rs", "//! A secret.\n#[derive(Debug)]\nenum A<'a> { B { token: &'a str } }", "token is plain text"),
    ("http/new.rs", "//! A secret.\nmod a { #[derive(Debug)] pub struct A { pub verifier: Vec<u8> } }", "verifier is"),
    ("http/new.rs", "//! A metric.\nfn f() { metrics::counter!(\"other\"); }", "not in the table of metrics"),
    ("http/new.rs", "//! A metric.\nfn f() { counter!(NAME); }", "whose name is not written out"),
    ("http/new.rs", "//! A metric.\nfn f() { gauge!(\"postpeer_tokens\", \"platform\" => 1); }", "as a gauge"),
    ("http/new.rs", "//! A metric.\nfn f() { counter!(\"postpeer_tokens\"); }", "with the labels {}"),
    ("broker/mod.rs", "//! None.\nuse crate::store;", "recorded nowhere"),
    ("http/new.rs", "//! A log.\nfn f() { tracing::warn!(id, error = %error, \"failed\"); }", "without its causes"),
    ("http/new.rs", "//! A log.\nfn f() { tracing::warn!(%error, \"failed\"); }", "logs `% error` without"),
    (
        "http/new.rs",
        "//! A log.\nfn f() { tracing::warn!(error = &e as &dyn Error, \"failed\"); }",
        "without its causes",
    ),
    ("http/new.rs", "// Says little.", "does not open with //!"),
];

#[test]
fn each_check_can_fail() {
    let complaints = |path: &str, text: &str| {
        let rooms =
            table("//! # Rooms\n//! ```text\n//! http: broker\n//! broker: store\n//! store:\n//! ```", "Rooms");
        let crates = vec![("rusqlite".to_owned(), BTreeSet::from(["store".to_owned()]))];
        let (kind, unit) = (Kind::Counter, METRICS[0].unit);
        let metrics = [Metric { name: "postpeer_tokens", kind, unit, labels: &["platform"], help: "" }];
        let good = [
            ("lib.rs", "//! Good.\npub mod http;"),
            ("http/mod.rs", "//! Good.\nuse crate::broker::Broker;"),
            (
                "broker/mod.rs",
                "//! Good.\nmod refresh;\n#[cfg(test)]\nmod tests;\n\
                 fn f() { store::find(); metrics::counter!(\"postpeer_tokens\", \"platform\" => name); }\n\
                 mod inner { use super::super::{store::{self, Store as S}, broker as http}; }",
            ),
            (
                "broker/refresh.rs",
                "//! Good.\nuse super::Broker;\nstruct A { token: String }\n\
                 fn f() { tracing::warn!(error = %chain(&error), next = %error.next_step(), \"failed\"); }\n\
                 #[derive(Debug)]\nstruct B { token_type: String, token: SecretString, lives: &'static str }",
            ),
            // What a test names is not looked at, wherever the test is.
            ("broker/tests.rs", "//! Good.\nuse crate::http;"),
            (
                "store/mod.rs",
                "//! Good. The SELECT of http.\nuse rusqlite::Connection;\n#[cfg(test)]\nmod fixture;\n\
                 const Q: &str = \"SELECT id FROM grants WHERE project_id = ?\";\n\
                 #[cfg(test)]\nmod tests { use crate::http; use reqwest::Client; }",
            ),
            ("store/fixture.rs", "//! Good.\nuse crate::broker;"),
        ];
        let sources = good.into_iter().filter(|(kept, _)| *kept != path);
        let sources = read(sources.chain((!text.is_empty()).then_some((path, text))));
        [
            room_complaints(&sources, &rooms),
            crate_complaints(&sources, &crates),
            client_complaints(&sources),
            sql_complaints(&sources),
            tenant_complaints(&sources).0,
            secret_complaints(&sources),
            metric_complaints(&sources, &metrics),
            cause_complaints(&sources),
            size_complaints(&sources),
            silence_complaints("src", &sources),
        ]
        .concat()
    };
    assert_none(&complaints("http/new.rs", "//! Good."));

    let long = format!("//! Long.\n{}", "fn f() {}\n".repeat(450));
    let cases = BAD_SOURCES.iter().copied().chain([("http/new.rs", long.as_str(), "has 451 lines")]);
    for (path, text, complaint) in cases {
        let found = complaints(path, text);
        assert!(found.iter().any(|found| found.contains(complaint)), "{text}: {found:?}");
    }
    let order =
        table("//! # Rooms\n//! ```text\n//! store: broker\n//! broker:\n//! gone:\n//! a: broker\n//! ```", "Rooms");
    let found = room_complaints(&read([("a.rs", "use crate::broker;"), ("broker.rs", "")]), &order);
    for complaint in ["row for gone", "row for store", "lets a know broker, which is not in a row below"] {
        assert!(found.iter().any(|found| found.contains(complaint)), "{complaint}: {found:?}");
    }
}

#[test]
fn the_paths_that_the_architecture_names_exist() {
    let lib = lib();
    let (_, changes) = lib.split_once("# Where a change goes").unwrap();
    let is_path = |word: &&str| word.contains('/');
    let words = changes.split(|c: char| c.is_whitespace() || "(),;:`".contains(c));
    let named: Vec<&str> =
        words.take_while(|word| *word != "pub").filter(is_path).filter(|word| *word != "//!").collect();
    assert!(named.len() > 20, "{named:?}");
    for path in named {
        assert!(root().join(path).exists(), "src/lib.rs names {path}, which is not there");
    }
}

/// The items of a list of threats: each a sentence and its tests, as paths with names.
fn threats(list: &str) -> Vec<(String, Vec<(String, String)>)> {
    let items = list.split("\n- ").skip(1).map(|item| item.split("\n\n").next().unwrap());
    items
        .map(|item| {
            let quoted = item.split('`').skip(1).step_by(2);
            let named = quoted.filter_map(|quoted| quoted.split_once(": ")).flat_map(|(path, names)| {
                names.split(", ").map(|name| (path.to_owned(), name.to_owned())).collect::<Vec<_>>()
            });
            (item.to_owned(), named.collect())
        })
        .collect()
}

/// Items without a test and without a reason, and tests that are not there. `text_of`: the text of a file.
fn threat_complaints(list: &str, text_of: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (item, tests) in threats(list) {
        if tests.is_empty() && !item.contains("Not tested: ") {
            complaints.push(format!("no test and no reason: {item}"));
        }
        for (path, name) in tests {
            let declared = ["fn", "def"].map(|word| format!("{word} {name}("));
            let is_there = text_of(&path).is_some_and(|text| declared.iter().any(|test| text.contains(test)));
            if !is_there {
                complaints.push(format!("{path} has no test {name}"));
            }
        }
    }
    complaints
}

#[test]
fn the_tests_that_threats_are_held_against_exist() {
    let list = fs::read_to_string(root().join("tests/README.md")).unwrap();
    assert_none(&threat_complaints(&list, |path| fs::read_to_string(root().join(path)).ok()));
    assert!(threats(&list).len() > 80, "are the items still read?");
    for (list, complaint) in [
        ("\n- A threat.\n  `a.rs: gone`", "a.rs has no test gone"),
        ("\n- A threat.\n  `a.rs: there, gone`", "a.rs has no test gone"),
        ("\n- A threat.\n  `b.rs: there`", "b.rs has no test there"),
        ("\n- A threat with `a.rs`.\n", "no test and no reason: A threat with `a.rs`.\n"),
    ] {
        let found = threat_complaints(list, |path| path.starts_with("a.").then(|| "fn there() {}".to_owned()));
        assert_eq!(found, [complaint]);
    }
}

#[test]
fn the_readme_tells_every_metric() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for metric in METRICS {
        assert!(readme.contains(&format!("| `{}` |", metric.name)), "README.md lacks a row for {}", metric.name);
    }
}

#[test]
fn a_platform_has_its_file_and_its_imitation() {
    let built_in = || postpeer::platforms::BUILT_IN.iter().map(|definition| definition().name.into_owned());
    for name in built_in().chain([postpeer::platforms::bluesky::NAME.to_owned()]) {
        assert!(root().join(format!("src/platforms/{name}.rs")).is_file(), "src/platforms/{name}.rs");
    }
    let sandbox = postpeer::sandbox::configuration("http://127.0.0.1:1");
    for name in built_in().chain(postpeer::platforms::CONTRACT_NAMES.map(str::to_owned)) {
        assert!(sandbox.contains(&format!("[platforms.{name}]")), "the sandbox does not imitate {name}");
    }
}

#[test]
fn the_versions_that_lose_data_or_let_requests_through_are_gone() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let version = |name: &str| -> Vec<u64> {
        let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n"))).unwrap();
        let version = entry.split("version = \"").nth(1).unwrap().split('"').next().unwrap();
        version.split('.').map(|part| part.parse().unwrap()).collect()
    };
    assert!(version("actix-http") >= vec![3, 12, 1], "request smuggling");
    // SQLite itself is asserted when a database is opened.
    assert!(version("rusqlite") >= vec![0, 41, 0], "SQLite before 3.51.3 loses commits");
}
