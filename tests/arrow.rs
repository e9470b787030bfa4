//! Data flows left to right, and so do the modules: each may use those to its left and no other.
//!
//! The sources are read as Rust tokens, so that comments, doc links and strings do not count.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// The top-level modules of the library from left to right. A new one is listed here where the
/// data flow puts it, and in the design document.
const ARROW: &[&str] = &[
    "compression",
    "digest",
    "path",
    "metadata",
    "bodies",
    "entry",
    "tar_format",
    "report",
    "findings",
    "record",
    "progress",
    "parallel",
    "contract",
    "source",
    "layer",
    "tree",
    "host",
    "packages",
    "initramfs",
    "policy",
    "fixup",
    "regenerate",
    "layer_tree",
    "options",
    "label",
    "object",
    "known",
    "repo",
    "images",
    "cache",
    "commit",
    "layer_commit",
    "base_layer",
    "image_commit",
    "publish",
    "outlook",
    "outcome",
    "import",
    "deploy",
    "rebase",
    "cli",
];

/// Modules that see less than all to their left.
const ONLY: &[(&str, &[&str])] = &[("contract", &["digest"])];

/// Builders that tests of every module share. It is compiled for tests only, uses what it likes,
/// and test code alone may use it.
const TESTING: &str = "testing";

/// Methods of `ostree::Repo` that change a repository. Test code may call them on its own, and so
/// may a file that does not name libostree: it has our own type of that name at hand.
const REPO_WRITERS: &[&str] = &[
    "abort_transaction",
    "auto_transaction",
    "commit_transaction",
    "delete_object",
    "import_object_from",
    "import_object_from_with_trust",
    "mark_commit_partial",
    "prepare_transaction",
    "prune",
    "regenerate_summary",
    "set_collection_ref_immediate",
    "set_ref_immediate",
    "sign_commit",
    "transaction_set_collection_ref",
    "transaction_set_ref",
    "transaction_set_refspec",
    "write_archive_to_mtree",
    "write_commit",
    "write_commit_detached_metadata",
    "write_commit_with_time",
    "write_config",
    "write_content",
    "write_content_trusted",
    "write_dfd_to_mtree",
    "write_directory_to_mtree",
    "write_metadata",
    "write_metadata_stream_trusted",
    "write_metadata_trusted",
    "write_mtree",
    "write_regfile",
    "write_regfile_inline",
    "write_symlink",
];

/// Macros that print. Test code may.
const PRINTERS: &[&str] = &["print", "println", "eprint", "eprintln"];

#[test]
fn the_sources_follow_the_arrow() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&root);
    assert!(files.len() > 5, "no sources below {}", root.display());
    let mut faults = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).expect("below the root");
        let text = fs::read_to_string(&file).expect("reading a source file");
        faults.extend(faults_of(name, &text));
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// What is wrong with the file `name`, a path below `src`.
fn faults_of(name: &Path, text: &str) -> Vec<String> {
    let tokens: TokenStream = text.parse().expect("Rust source");
    let mut uses = Uses::default();
    // `src/x.rs` and `src/x/mod.rs` are both one `super` away from the crate.
    let is_mod = name.file_stem().is_some_and(|stem| stem == "mod");
    let depth = name.components().count() - usize::from(is_mod);
    let test_file = name.file_stem().is_some_and(|stem| stem == "tests");
    uses.collect(tokens, depth, test_file);

    let module = module_of(name);
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(format!("src/{}: {what}", name.display()));
    match module {
        Some(TESTING) => return faults,
        Some(module) if place(module).is_none() => fault(unlisted(module)),
        Some(module) => {
            let wrong = uses
                .modules
                .iter()
                .filter_map(|used| wrong_use(module, used));
            wrong.for_each(&mut fault);
        }
        // The crate's two roots name every module.
        None => {}
    }
    for call in &uses.writes {
        if module != Some("repo") && uses.libostree && !call.in_tests {
            fault(format!(
                "`.{}()`: only src/repo writes repositories",
                call.name
            ));
        }
    }
    for call in &uses.prints {
        if module != Some("cli") && name != Path::new("main.rs") && !call.in_tests {
            fault(format!(
                "`{}!`: only src/cli and src/main.rs print",
                call.name
            ));
        }
    }
    faults
}

fn wrong_use(module: &str, used: &Used) -> Option<String> {
    let to = used.name.as_str();
    if to == module || (to == TESTING && used.in_tests) {
        return None;
    }
    if to == TESTING {
        return Some(format!("`{module}` uses `{TESTING}` outside of its tests"));
    }
    let Some(there) = place(to) else {
        return Some(unlisted(to));
    };
    if let Some((_, only)) = ONLY.iter().find(|(name, _)| *name == module)
        && !only.contains(&to)
    {
        return Some(format!(
            "`{module}` uses `{to}`; it may use {only:?} and no other"
        ));
    }
    let against = place(module).is_some_and(|here| there > here);
    against.then(|| {
        format!(
            "`{module}` uses `{to}`, which is to its right: {}",
            ARROW.join(" < ")
        )
    })
}

fn unlisted(name: &str) -> String {
    format!("`crate::{name}` has no place on the arrow: list it in ARROW of tests/arrow.rs")
}

fn place(module: &str) -> Option<usize> {
    ARROW.iter().position(|name| *name == module)
}

/// The top-level module a file belongs to; `None` for `lib.rs` and `main.rs`.
fn module_of(name: &Path) -> Option<&str> {
    let first = Path::new(name.components().next()?.as_os_str());
    match first.file_stem()?.to_str().expect("module names are UTF-8") {
        "lib" | "main" => None,
        module => Some(module),
    }
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("listing sources") {
        let path = entry.expect("listing sources").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// What a file names that the rules look at.
#[derive(Debug, Default)]
struct Uses {
    modules: Vec<Used>,
    /// Whether code that is not a test names the crate `ostree`.
    libostree: bool,
    writes: Vec<Used>,
    prints: Vec<Used>,
}

#[derive(Debug)]
struct Used {
    name: String,
    in_tests: bool,
}

impl Uses {
    /// Goes through `tokens`, which lie `depth` modules below the crate.
    fn collect(&mut self, tokens: TokenStream, depth: usize, in_tests: bool) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut cfg_test = false;
        for (i, token) in tokens.iter().enumerate() {
            let before = |n: usize| i.checked_sub(n).map(|i| tokens[i].to_string());
            let rest = &tokens[i + 1..];
            match token {
                TokenTree::Ident(ident) => {
                    let name = ident.to_string();
                    let used = |name: String| Used {
                        name,
                        in_tests: in_tests || cfg_test,
                    };
                    let next = rest.first().map(TokenTree::to_string);
                    match name.as_str() {
                        // Not `pub(crate)`, nor `$crate`.
                        "crate" => self.modules.extend(after_path(rest).map(used)),
                        "super" if before(1).as_deref() != Some(":") => {
                            let supers = 1 + count_supers(rest);
                            let rest = &rest[3 * (supers - 1)..];
                            if supers >= depth {
                                let roots = after_path(rest).filter(|name| place(name).is_some());
                                self.modules.extend(roots.map(used));
                            }
                        }
                        "ostree" if is_path_separator(rest) => {
                            self.libostree |= !in_tests && !cfg_test;
                        }
                        _ if before(1).as_deref() == Some(".")
                            && REPO_WRITERS.contains(&name.as_str()) =>
                        {
                            self.writes.push(used(name));
                        }
                        _ if next.as_deref() == Some("!") && PRINTERS.contains(&name.as_str()) => {
                            self.prints.push(used(name));
                        }
                        _ => {}
                    }
                }
                TokenTree::Group(group) => {
                    let inline_module = group.delimiter() == Delimiter::Brace
                        && before(2).as_deref() == Some("mod");
                    self.collect(
                        group.stream(),
                        depth + usize::from(inline_module),
                        in_tests || cfg_test,
                    );
                    cfg_test |= before(1).as_deref() == Some("#") && is_cfg_test(group);
                    if group.delimiter() == Delimiter::Brace {
                        cfg_test = false;
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => cfg_test = false,
                _ => {}
            }
        }
    }
}

fn is_cfg_test(attribute: &Group) -> bool {
    attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// How many `::super` follow.
fn count_supers(tokens: &[TokenTree]) -> usize {
    let is_super = |part: &&[TokenTree]| {
        is_path_separator(part)
            && part
                .get(2)
                .is_some_and(|token| token.to_string() == "super")
    };
    tokens.chunks(3).take_while(is_super).count()
}

/// The names right after a `::`: one, or those at the start of each item of a group.
fn after_path(tokens: &[TokenTree]) -> impl Iterator<Item = String> + use<> {
    let names = match tokens.get(2) {
        Some(token) if !is_path_separator(tokens) || token.to_string() == "self" => Vec::new(),
        Some(TokenTree::Group(group)) => {
            let items: Vec<_> = group.stream().into_iter().collect();
            items
                .split(|token| token.to_string() == ",")
                .filter_map(<[_]>::first)
                .map(TokenTree::to_string)
                .filter(|name| name != "self")
                .collect()
        }
        Some(token) => vec![token.to_string()],
        None => Vec::new(),
    };
    names.into_iter()
}

fn is_path_separator(tokens: &[TokenTree]) -> bool {
    let colon = |i: usize| tokens.get(i).is_some_and(|token| token.to_string() == ":");
    colon(0) && colon(1)
}

/// A file below `src` | what it holds | part of the one fault to be found, or nothing.
const EXAMPLES: &str = r#"
    layer/mod.rs | use crate::bodies::BodyId; |
    layer/mod.rs | use crate::layer::Entry; |
    layer/mod.rs | #[doc = "[`crate::tree`]"] fn f() {} /* crate::tree */ |
    layer/mod.rs | const X: &str = "use crate::tree::Tree; println!"; |
    layer/mod.rs | pub(crate) mod x { pub(in crate::layer) fn f() {} } |
    layer/mod.rs | use super::source::Platform; |
    layer/mod.rs | use crate::tree::Tree; | to its right
    layer/mod.rs | fn f() -> crate::tree::Tree { g() } | to its right
    layer/mod.rs | fn f() { bail!(crate::tree::X) } | to its right
    layer/mod.rs | use crate::{path::A, tree::{B, C}}; | `tree`
    layer/mod.rs | use super::tree::Tree; | to its right
    layer/mod.rs | mod a { use super::super::{path::A, tree::B}; } | to its right
    layer/mod.rs | mod tree {} mod a { use super::tree::B; } |
    layer/tar.rs | use super::tree::Tree; |
    layer/tar.rs | use super::super::tree::Tree; | to its right
    digest.rs | use super::path::ImagePath; | to its right
    layer/mod.rs | #[cfg(test)] mod tests { use crate::tree::Tree; } | to its right
    layer/mod.rs | #[cfg(test)] mod tests { use crate::testing::Image; } |
    layer/tests.rs | use crate::testing::Image; |
    layer/mod.rs | use crate::testing::Image; | outside of its tests
    layer/mod.rs | #[cfg(test)] mod tests {} use crate::testing::Image; | outside of its tests
    layer/mod.rs | use crate::novelty::X; | tests/arrow.rs
    novelty.rs | | tests/arrow.rs
    novelty/x.rs | | tests/arrow.rs
    testing.rs | use crate::import::import; |
    lib.rs | pub use crate::import::import; |
    contract/refs.rs | use crate::digest::Digest; |
    contract/refs.rs | use super::ref_escape; use crate::contract::X; |
    contract/refs.rs | use crate::path::ImagePath; | no other
    commit.rs | fn f(repo: &ostree::Repo) { repo.write_commit(); } | only src/repo
    commit.rs | fn f(repo: &ostree::Repo) { repo.read_commit(); } |
    commit.rs | fn f(repo: &crate::repo::Repo) { repo.write_commit(); } |
    commit.rs | use ostree::Repo; fn write_commit() { write_commit() } |
    repo/mod.rs | fn f(repo: &ostree::Repo) { repo.write_commit(); } |
    object/mod.rs | #[cfg(test)] mod tests { fn f(r: &ostree::Repo) { r.prune(); } } |
    object/mod.rs | #[cfg(test)] mod tests; fn f(r: &ostree::Repo) { r.prune(); } | `.prune()`
    label/mod.rs | fn f() { eprintln!("x"); } | `eprintln!`
    label/mod.rs | #[cfg(test)] mod tests { fn f() { eprintln!("not run"); } } |
    label/mod.rs | fn println() {} fn f() { writeln!(out); } |
    lib.rs | fn f() { println!(); } | `println!`
    main.rs | fn f() { println!(); } |
    cli/import.rs | fn f() { println!(); } |
"#;

#[test]
fn faults_are_found() {
    for line in EXAMPLES.lines().filter(|line| !line.trim().is_empty()) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [file, text, fault] = cells[..] else {
            panic!("three cells: {line}");
        };
        let faults = faults_of(Path::new(file), text);
        let expected = usize::from(!fault.is_empty());
        assert!(
            faults.len() == expected && faults.iter().all(|found| found.contains(fault)),
            "{line}: {faults:?}"
        );
    }
}
