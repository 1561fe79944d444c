use super::fingerprint;

const STATE: &str = r##"{"$schema":"x","title":"Account","type":"object","description":"old",
    "properties":{"owner":{"type":"string"},"balance":{"type":"integer","format":"int64"},"status":{"$ref":"#/$defs/Status"}},
    "required":["owner","balance","status"],"$defs":{"Status":{"enum":["none","open"]}}}"##;

fn differs(from: &str, to: &str) -> bool {
    let changed = STATE.replace(from, to);
    assert_ne!(changed, STATE, "{from} is not in the schema");
    fingerprint(&changed) != fingerprint(STATE)
}

#[test]
fn what_changes_the_layout_changes_the_fingerprint() {
    assert!(differs("int64", "int32"), "a type");
    assert!(differs(r#""balance""#, r#""amount""#), "a field's name");
    assert!(differs(r#""none","open""#, r#""none","open","closed""#), "a variant, behind a reference");
    assert!(differs(r#""owner","balance","status""#, r#""balance","owner","status""#), "the order of fields");
    assert!(
        differs(
            r#""owner":{"type":"string"},"balance":{"type":"integer","format":"int64"}"#,
            r#""balance":{"type":"integer","format":"int64"},"owner":{"type":"string"}"#
        ),
        "the order of fields"
    );
    assert!(differs(r#""required":["owner","balance","status"],"#, ""), "what must be there");
}

#[test]
fn what_is_for_people_does_not() {
    assert!(!differs("old", "new"));
    assert!(!differs(r#""title":"Account""#, r#""title":"Konto""#));
    assert!(!differs("Status", "Standing"), "a type's name");
    // The same state behind a reference, as a newtype has it.
    let (head, tail) = STATE.split_once(r#","$defs":{"#).unwrap();
    let wrapped = format!(r##"{{"$ref":"#/$defs/Account","$defs":{{"Account":{head}}},{tail}"##);
    assert_eq!(fingerprint(&wrapped), fingerprint(STATE));
}

#[test]
fn fields_that_are_called_like_words_of_json_schema_count() {
    let state = r#"{"properties":{"title":{"type":"string"},"$ref":{"type":"string"}}}"#;
    let without = r#"{"properties":{"$ref":{"type":"string"}}}"#;
    assert_ne!(fingerprint(state), fingerprint(without));
    assert_ne!(fingerprint(without), fingerprint(r#"{"properties":{"$ref":{"type":"null"}}}"#));
}

#[test]
fn types_that_hold_themselves_end() {
    let tree = |leaf: &str| {
        format!(
            r##"{{"$ref":"#/$defs/T","$defs":{{"T":{{"items":{{"$ref":"#/$defs/T"}},"leaf":{{"type":"{leaf}"}}}}}}}}"##
        )
    };
    assert_ne!(fingerprint(&tree("string")), fingerprint(&tree("integer")));
    // Each mentions the next one twice: two to the fortieth nodes, were they all followed.
    let doubling: Vec<String> = (0..40)
        .map(|n| format!(r##""T{n}":{{"a":{{"$ref":"#/$defs/T{0}"}},"b":{{"$ref":"#/$defs/T{0}"}}}}"##, n + 1))
        .collect();
    let bomb =
        |end: &str| format!(r##"{{"$ref":"#/$defs/T0","$defs":{{{},"T40":{{"type":"{end}"}}}}}}"##, doubling.join(","));
    assert_ne!(fingerprint(&bomb("string")), fingerprint(&bomb("integer")));
}
