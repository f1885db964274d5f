use super::*;

#[test]
fn print() {
    for kind in KINDS {
        println!("{}", yaml(kind).unwrap());
    }
}
