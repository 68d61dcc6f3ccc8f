//! The budgets of the code: which module may import which, how long files and functions may be, what never appears.
//!
//! Raising a budget or adding an exception is a reviewed one-line change in the tables below. The sources are read as
//! text, in the shape `rustfmt` gives them: a function ends at the brace that stands as deep as its `fn`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::Path;

/// Modules in flow order, and what each may import. Only earlier ones are allowed, so no two import each other.
const IMPORTS: [(&str, &[&str]); 14] = [
    ("engine", &[]),
    ("views", &[]),
    ("nn", &["engine"]),
    // Its `[views]` table is the recipe of the views crate; networks have one table of names, sizes and costs.
    ("config", &["views", "nn", "engine"]),
    ("loss", &["engine"]),
    ("schedule", &["config"]),
    ("methods", &["nn", "loss", "engine", "schedule"]),
    ("checkpoint", &["nn", "methods"]),
    // Labels of views become targets of the loss there.
    ("train", &["methods", "loss", "checkpoint", "views", "schedule", "config", "engine"]),
    ("eval", &["nn", "views", "engine"]),
    ("demo", &[]),
    ("report", &["eval", "train"]),
    (
        "run",
        &[
            "engine",
            "views",
            "config",
            "nn",
            "loss",
            "schedule",
            "methods",
            "checkpoint",
            "train",
            "eval",
            "demo",
            "report",
        ],
    ),
    ("cli", &["run", "eval", "checkpoint", "report", "config"]),
];

/// Sibling files that may import each other, with the reason.
const TWO_WAY: [(&str, &str, &str); 1] =
    [("src/checkpoint/error", "names", "an error carries the list of tensors that do not match")];

const FILE_LINES: usize = 500;
/// The file of the training loop is held shorter: it is the one everybody reads.
const LOOP_FILE: (&str, usize) = ("src/train/mod.rs", 150);
const FUNCTION_LINES: usize = 60;
const PARAMETERS: usize = 5;

/// Functions with more parameters, with the reason.
const MANY_PARAMETERS: [(&str, &str); 0] = [];

/// Public functions that take a `bool`, with the reason.
const BOOLS: [(&str, &str); 1] = [("position_mix", "whether the image is square is a fact of the image, not a mode")];

const PANICS: [&str; 5] = [".unwrap()", ".expect(\"", "panic!(", "todo!(", "unimplemented!("];

struct Source {
    /// Path from the root of the repository, with `/`.
    path: String,
    /// Top-level module, or `engine`, `views` for the two crates.
    module: String,
    /// Lines without comments; blank where one stood, so that line numbers stay right.
    lines: Vec<String>,
}

struct Function {
    name: String,
    lines: usize,
    public: bool,
    /// As written, without `self`.
    parameters: Vec<String>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = ["src", "crates/engine/src", "crates/views/src"].map(|folder| root.join(folder)).to_vec();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(source(root, &path));
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn source(root: &Path, file: &Path) -> Source {
    let path = file.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
    let module = path.trim_start_matches("src/").trim_start_matches("crates/").trim_end_matches(".rs");
    let module = module.split('/').next().unwrap().to_owned();
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line }.to_owned());
    Source { lines: lines.collect(), module, path }
}

/// How an opening or closing bracket changes the depth; the arrow `->` is none.
fn step(before: char, c: char) -> i32 {
    match c {
        '(' | '[' | '{' | '<' => 1,
        ')' | ']' | '}' => -1,
        '>' if before != '-' => -1,
        _ => 0,
    }
}

/// The parameters of a signature that begins after the function's name: inside the first parenthesis outside of `<…>`.
fn parameters(signature: &str) -> Vec<String> {
    let (mut depth, mut before, mut inside, mut parts) = (0, ' ', false, vec![String::new()]);
    for c in signature.chars() {
        depth += step(before, c);
        before = c;
        match c {
            '(' if depth == 1 && !inside => inside = true,
            ')' | '}' if depth == 0 && inside => break,
            ',' if depth == 1 && inside => parts.push(String::new()),
            _ if inside => parts.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    let is_self = |part: &str| part.split(':').next().is_some_and(|name| name.trim().ends_with("self"));
    parts.retain(|part| !part.trim().is_empty() && !is_self(part));
    parts
}

/// The function that begins with the first of these lines, if one does.
fn function(lines: &[String]) -> Option<Function> {
    let (before, after) = lines[0].split_once("fn ")?;
    if !before.split_whitespace().all(|word| word.starts_with("pub") || ["const", "unsafe"].contains(&word)) {
        return None;
    }
    let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let opening = lines.iter().position(|line| line.ends_with([';', '{', '}']))?;
    let indent = lines[0].len() - lines[0].trim_start().len();
    let brace = format!("{}}}", " ".repeat(indent));
    let has_body = lines[opening].ends_with('{');
    let closing = if has_body { lines.iter().position(|line| *line == brace)? } else { opening };
    let signature = lines[..=opening].join(" ");
    let parameters = parameters(&signature[signature.find(&name)? + name.len()..]);
    Some(Function { name, lines: closing + 1, public: before.split_whitespace().any(|word| word == "pub"), parameters })
}

/// What `rule` says of every function, one complaint a line.
fn complaints(rule: impl Fn(&Function) -> Option<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    for Source { path, lines, .. } in sources() {
        for (line, function) in (0..lines.len()).filter_map(|line| Some((line, function(&lines[line..])?))) {
            complaints.extend(rule(&function).map(|what| format!("{path}:{}: `{}` {what}", line + 1, function.name)));
        }
    }
    complaints
}

/// Names that follow `prefix`, single or in braces.
fn names_after(text: &str, prefix: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let names = |(at, _)| match text[at + prefix.len()..].strip_prefix('{') {
        // A list in braces is cut like one in parentheses.
        Some(list) => parameters(&format!("({list}")).iter().map(|part| name(part)).collect(),
        None => vec![name(&text[at + prefix.len()..])],
    };
    text.match_indices(prefix).flat_map(names).collect()
}

/// Modules of ours that a file names.
fn imported(source: &Source) -> BTreeSet<String> {
    let text = source.lines.join("\n");
    let mut names = BTreeSet::from_iter(names_after(&text, "dinoxide_"));
    if source.path.starts_with("src/") {
        names.extend(names_after(&text, "crate::"));
    }
    names.remove(&source.module);
    names
}

fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| !["lib", "main"].contains(&&*source.module)) {
        let allowed = IMPORTS.iter().find(|(module, _)| *module == source.module);
        let Some((_, allowed)) = allowed else {
            complaints.push(format!("{}: module `{}` is not in the table", source.path, source.module));
            continue;
        };
        let refused = imported(source).into_iter().filter(|name| !allowed.contains(&&**name));
        complaints.extend(refused.map(|name| format!("{}: `{}` must not import `{name}`", source.path, source.module)));
    }
    assert_none(complaints);
}

#[test]
fn table_has_no_cycle() {
    for (position, (module, allowed)) in IMPORTS.iter().enumerate() {
        let earlier = |name: &&str| IMPORTS[..position].iter().any(|(earlier, _)| earlier == name);
        assert!(allowed.iter().all(earlier), "`{module}` may import only modules above it in the table");
    }
}

#[test]
fn sibling_files_do_not_import_each_other() {
    let mut edges = BTreeSet::new();
    for Source { path, lines, .. } in sources() {
        let (folder, file) = path.trim_end_matches(".rs").trim_end_matches("/mod").rsplit_once('/').unwrap();
        let names = names_after(&lines.join("\n"), "super::").into_iter();
        edges.extend(names.map(|name| (folder.to_owned(), file.to_owned(), name)));
    }
    let both = edges.iter().filter(|(folder, a, b)| a < b && edges.contains(&(folder.clone(), b.clone(), a.clone())));
    let both = both.map(|(folder, a, b)| (format!("{folder}/{a}"), b));
    let known = |a: &str, b: &str| TWO_WAY.iter().any(|(path, other, _)| *path == a && *other == b);
    assert_none(both.filter(|(a, b)| !known(a, b)).map(|(a, b)| format!("{a} and {b} import each other")).collect());
}

#[test]
fn files_are_short() {
    let limit = |path: &str| if path == LOOP_FILE.0 { LOOP_FILE.1 } else { FILE_LINES };
    let long = sources().into_iter().filter(|source| source.lines.len() > limit(&source.path));
    assert_none(long.map(|source| format!("{} has {} lines", source.path, source.lines.len())).collect());
}

#[test]
fn functions_are_short() {
    assert_none(complaints(|function| {
        (function.lines > FUNCTION_LINES).then(|| format!("has {} lines, {FUNCTION_LINES} at most", function.lines))
    }));
}

#[test]
fn functions_have_few_parameters() {
    assert_none(complaints(|function| {
        let known = MANY_PARAMETERS.iter().any(|(name, _)| *name == function.name);
        let count = function.parameters.len();
        (count > PARAMETERS && !known).then(|| format!("has {count} parameters, {PARAMETERS} at most"))
    }));
}

#[test]
fn public_functions_take_no_bool() {
    assert_none(complaints(|function| {
        let is_bool = |parameter: &String| parameter.ends_with(": bool");
        let known = BOOLS.iter().any(|(name, _)| *name == function.name);
        let refused = function.public && !known && function.parameters.iter().any(is_bool);
        refused.then(|| "takes a `bool`: an enum or two functions say more".to_owned())
    }));
}

#[test]
fn library_code_does_not_panic_on_purpose() {
    let mut complaints = Vec::new();
    for Source { path, lines, .. } in sources() {
        for (number, line) in lines.iter().enumerate() {
            let found = PANICS.iter().filter(|panic| line.contains(**panic));
            complaints.extend(found.map(|panic| format!("{path}:{}: `{panic}` in library code", number + 1)));
        }
    }
    assert_none(complaints);
}
