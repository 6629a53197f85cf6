use super::*;
use proptest::prelude::*;

/// The blocks that `Boundary` finds when the bytes come in these pieces, and what is left.
fn blocks(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let (mut boundary, mut found, mut partial) = (Boundary::default(), Vec::new(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        if boundary.stray_lf(rest) {
            rest = &rest[1..];
        }
        while let Some(end) = boundary.end_of_event(rest) {
            partial.extend_from_slice(&rest[..end]);
            found.push(std::mem::take(&mut partial));
            rest = &rest[end..];
        }
        partial.extend_from_slice(rest);
    }
    (found, partial)
}

fn said(blocks: &[Vec<u8>]) -> Vec<(Option<String>, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = |block: &Vec<u8>| {
        let event = Event::parse(block);
        (event.name.map(text), event.data.map(|data| text(&data)))
    };
    blocks.iter().map(said).collect()
}

#[test]
fn line_ends_of_all_three_kinds_say_the_same() {
    let lf = "\u{feff}: hello\nevent: a\ndata: 1\ndata:2\n\nid: 7\ndata\n\ndata: x\n\n";
    let expected = vec![
        (Some("a".to_owned()), Some("1\n2".to_owned())),
        (None, Some(String::new())),
        (None, Some("x".to_owned())),
    ];
    for text in [
        lf.to_owned(),
        lf.replace('\n', "\r\n"),
        lf.replace('\n', "\r"),
    ] {
        let (found, left) = blocks(&[text.as_bytes()]);
        assert_eq!(said(&found), expected);
        assert!(left.is_empty());
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        let (found, left) = blocks(&bytes);
        assert_eq!(said(&found), expected);
        assert!(left.is_empty());
    }
}

#[test]
fn an_event_without_its_blank_line_is_left_over() {
    let (found, left) = blocks(&[b"data: 1\n\ndata: 2\n"]);
    assert_eq!(found.len(), 1);
    assert_eq!(left, b"data: 2\n");
}

#[test]
fn a_blank_line_in_cr_ends_the_event_before_the_lf_is_seen() {
    let mut boundary = Boundary::default();
    assert_eq!(boundary.end_of_event(b"data: 1\r\n\r"), Some(10));
    assert!(boundary.stray_lf(b"\ndata"));
    assert!(!boundary.stray_lf(b"\ndata"));
}

#[test]
fn a_field_name_must_match_whole() {
    let event = Event::parse(b"data2: 1\nevents: x\n:data: 3\n data: 4\n");
    assert_eq!((event.name, event.data), (None, None));
}

proptest! {
    #[test]
    fn chunking_changes_nothing(
        text in "([a-d:\r\n ]|data: |event: |\r\n|\n\n){0,60}",
        cuts in proptest::collection::vec(0_usize..200, 0..8),
    ) {
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let (mut pieces, mut from) = (Vec::new(), 0);
        for cut in cuts {
            pieces.push(&bytes[from..cut]);
            from = cut;
        }
        pieces.push(&bytes[from..]);
        let (whole, whole_left) = blocks(&[bytes]);
        let (split, split_left) = blocks(&pieces);
        prop_assert_eq!(said(&whole), said(&split));
        prop_assert_eq!(said(&[whole_left]), said(&[split_left]));
    }
}
