use super::*;
use http::HeaderValue;

#[test]
fn a_key_is_read_from_any_of_three_headers() {
    for (name, value) in [
        ("authorization", "Bearer k1"),
        ("authorization", "bearer  k1 "),
        ("x-api-key", "k1"),
        ("api-key", "k1"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        let read: Vec<_> = presented(&headers).collect();
        let name = HeaderName::from_static(name);
        let expected = [(&name, &b"k1"[..])];
        assert_eq!(read, expected, "{name}: {value}");
    }
    for (name, value) in [("authorization", "Basic k1"), ("x-api-key", " ")] {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        assert_eq!(presented(&headers).count(), 0, "{name}: {value}");
    }
}

#[test]
fn loopback_without_identities_serves_nobody_from_elsewhere() {
    let peer = Some(Peer::Tcp(([127, 0, 0, 1], 9).into()));
    let with = |name: &'static str, value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        local_only(&headers, None, peer).is_ok()
    };
    assert!(
        with("host", "127.0.0.1:7070") && with("host", "localhost:7070") && with("host", "[::1]:1")
    );
    assert!(!with("host", "evil.example") && !with("host", "localhost.evil.example"));
    assert!(!with("origin", "http://localhost") && !with("forwarded", "for=1"));
    // HTTP/2 names the host in the address alone.
    let none = HeaderMap::new();
    assert!(local_only(&none, Some("localhost"), peer).is_ok());
    assert!(local_only(&none, Some("evil.example"), peer).is_err());
    let far = Some(Peer::Tcp(([10, 0, 0, 9], 9).into()));
    assert!(local_only(&HeaderMap::new(), None, far).is_err());
    assert!(local_only(&HeaderMap::new(), None, Some(Peer::Unix)).is_ok());
}
