//! AWS's published test suite for Signature Version 4: requests and the signatures that they must get.

use super::*;

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const HOST: (&str, &str) = ("host", "example.amazonaws.com");
const DATE: (&str, &str) = ("x-amz-date", "20150830T123600Z");

/// Method, path, query, headers, body, and the signature.
type Case<'a> = (
    &'a str,
    &'a str,
    &'a str,
    &'a [(&'a str, &'a str)],
    &'a [u8],
    &'a str,
);

fn signed(method: &str, path: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
    let body_digest = hex_digest(body);
    let message = Message {
        method,
        path,
        query,
        headers,
        body_digest: &body_digest,
    };
    let scope = Scope {
        instant: DATE.1,
        region: "us-east-1",
        service: "service",
    };
    let whole = authorization(&message, &scope, KEY_ID, SECRET);
    let begins = format!(
        "{ALGORITHM} Credential={KEY_ID}/20150830/us-east-1/service/aws4_request, SignedHeaders="
    );
    assert!(whole.starts_with(&begins), "{whole}");
    whole.rsplit('=').next().unwrap().to_owned()
}

#[test]
fn requests_of_the_suite_get_its_signatures() {
    let plain = [HOST, DATE];
    let form = [
        ("content-type", "application/x-www-form-urlencoded"),
        HOST,
        DATE,
    ];
    let sorted = [HOST, ("my-header1", "value1"), DATE];
    let trimmed = [
        HOST,
        ("my-header1", " value1"),
        ("my-header2", " \"a   b   c\""),
        DATE,
    ];
    let cases: [Case<'_>; 9] = [
        (
            "GET",
            "/",
            "",
            &plain,
            b"",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "GET",
            "/",
            "Param2=value2&Param1=value1",
            &plain,
            b"",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "/\u{1234}",
            "",
            &plain,
            b"",
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
        ),
        (
            "GET",
            "/example space/",
            "",
            &plain,
            b"",
            "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
        ),
        (
            "GET",
            "/",
            "",
            &trimmed,
            b"",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "POST",
            "/",
            "",
            &plain,
            b"",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "POST",
            "/",
            "",
            &sorted,
            b"",
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        ),
        (
            "POST",
            "/",
            "Param1=value1",
            &plain,
            b"",
            "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        ),
        (
            "POST",
            "/",
            "",
            &form,
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ];
    for (method, path, query, headers, body, signature) in cases {
        let got = signed(method, path, query, headers, body);
        assert_eq!(got, signature, "{method} {path}?{query}");
    }
}

#[test]
fn a_path_is_signed_encoded_once_more_and_everything_counts() {
    let message = Message {
        method: "POST",
        path: "/model/amazon.nova-lite-v1%3A0/converse",
        query: "",
        headers: &[HOST],
        body_digest: "d",
    };
    let text = canonical(&message);
    let expected =
        "POST\n/model/amazon.nova-lite-v1%253A0/converse\n\nhost:example.amazonaws.com\n\nhost\nd";
    assert_eq!(text, expected);
    let plain = [HOST, DATE];
    let one = signed("POST", "/a", "", &plain, b"x");
    assert_ne!(one, signed("POST", "/a", "", &plain, b"y"));
    assert_ne!(one, signed("POST", "/b", "", &plain, b"x"));
    assert_ne!(one, signed("PUT", "/a", "", &plain, b"x"));
}

#[test]
fn times_are_told_in_the_basic_form() {
    assert_eq!(instant(UnixMs(1_440_938_160_999)), "20150830T123600Z");
    assert_eq!(instant(UnixMs(0)), "19700101T000000Z");
}
