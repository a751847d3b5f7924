//! Builds again when a migration changes: the macro that reads them at compile time does not tell cargo.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
