//! What nobody must read in the state folder, and the key that it is sealed with.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use data_encoding::BASE64;
use serde_json::json;

use crate::Scene;
use crate::agent;
use crate::cases::BOTH;
use crate::cases::with;
use crate::scene;
use crate::support::apiserver::Options;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::apiserver::kind::SECRETS;
use crate::support::apiserver::token::PLANTED;
use crate::support::apiserver::token::PROTOBUF;
use crate::support::apiserver::token::Request;
use crate::support::cable::Mode;
use crate::support::object;
use crate::tokens;

const SECRETS_HERE: &str = "/api/v1/namespaces/ns/secrets";
/// A value that JSON writes otherwise than it is.
const VALUE: &str = "hunter2 \"<&>\" \u{e9}\\ end";

/// Every file below the state folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The forms in which a value may stand in a file: as it is, in base64 at every offset, and as JSON writes it.
fn forms(value: &str) -> Vec<Vec<u8>> {
    let quoted = json!(value).to_string();
    let inner = quoted.trim_matches('"').to_owned();
    // As Go writes it.
    let go = inner
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026");
    let mut forms = vec![value.into(), inner.clone().into_bytes(), go.into_bytes()];
    for text in [value, inner.as_str()] {
        for before in ["", "x", "xy"] {
            let coded = BASE64.encode(format!("{before}{text}").as_bytes());
            // Without the letters that its neighbours have a part in.
            let from = [0, 2, 3][before.len()];
            let to = coded.trim_end_matches('=').len() - 1;
            forms.push(coded.as_bytes()[from..to].to_vec());
        }
    }
    forms
}

/// Which files of the state folder hold a value in any form.
pub(crate) fn found(scene: &Scene, value: &str) -> Vec<PathBuf> {
    let state = scene.folder().join("state");
    let holds = |path: &PathBuf| {
        let bytes = std::fs::read(path).expect("a file");
        let mut forms = forms(value).into_iter();
        forms.any(|form| bytes.windows(form.len()).any(|part| part == form))
    };
    files(&state).into_iter().filter(holds).collect()
}

fn put_secret(scene: &Scene, name: &str) {
    let mut secret = object::secret("ns", name, &BASE64.encode(VALUE.as_bytes()));
    // kubectl apply leaves the whole of it here.
    let applied = json!({"stringData": {"token": VALUE}}).to_string();
    secret["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": applied});
    secret["metadata"]["labels"] = json!({"a": "b"});
    scene.server.put(&SECRETS, secret);
}

#[test]
fn no_secret_and_no_token_can_be_read_in_the_state_folder() {
    let mut scene = scene();
    for n in 0..5 {
        put_secret(&scene, &format!("s-{n}"));
    }
    let control = "in a configmap \"<>\"";
    let map = object::configmap("ns", "c", &[], control);
    scene.server.put(&CONFIGMAPS, map);
    scene.client().list("/api/v1/namespaces/ns/configmaps");
    // Every way by which secrets come.
    let list = scene.client().list(SECRETS_HERE);
    let caller = scene
        .client()
        .with("Authorization", "Bearer planted-bearer");
    caller.list(SECRETS_HERE);
    scene
        .client()
        .list(&with("/api/v1/secrets", "labelSelector=a%3Db"));
    let name = with(SECRETS_HERE, "fieldSelector=metadata.name%3Ds-1");
    let mut kubelets = scene.client().watching(&with(&name, BOTH));
    kubelets.event();
    let one = scene.client().get(&format!("{SECRETS_HERE}/s-2"));
    assert_eq!(one.expect("an answer").status, 200);
    let protobuf = scene.client().with("Accept", PROTOBUF);
    assert_eq!(protobuf.get(SECRETS_HERE).expect("an answer").status, 200);
    // Changed and deleted under a watch.
    let version = list.version();
    let mut watch = scene.client().watching(&with(
        SECRETS_HERE,
        &format!("watch=true&resourceVersion={version}"),
    ));
    put_secret(&scene, "s-3");
    scene.server.delete(&SECRETS, "ns", "s-4");
    assert_eq!(watch.change().event, "MODIFIED");
    assert_eq!(watch.change().event, "DELETED");
    for encoding in tokens::ENCODINGS {
        let request = Request::default();
        let answer = tokens::ask_in(
            &scene,
            encoding,
            "ns",
            encoding.get(12..16).unwrap_or("sa"),
            &request,
        );
        assert_eq!(answer.status, 201);
    }
    let (_, well) = scene.terminate();
    assert!(well);
    assert!(
        !found(&scene, control).is_empty(),
        "what is not secret is found"
    );
    for hidden in [VALUE, "hunter2", PLANTED, "planted-bearer"] {
        let files = found(&scene, hidden);
        assert!(files.is_empty(), "{hidden}: {files:?}");
    }
    for file in files(&scene.folder().join("state")) {
        let mode = file.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    // And all of it is answered, cut off.
    scene.cut(Mode::Refuse);
    scene.start();
    let offline = scene.client().list(SECRETS_HERE);
    assert_eq!(offline.names(), ["s-0", "s-1", "s-2", "s-3"]);
    assert_eq!(
        offline.items()[3]["data"]["token"],
        BASE64.encode(VALUE.as_bytes())
    );
    assert_eq!(caller_of(&scene).list(SECRETS_HERE).names().len(), 5);
    assert_eq!(tokens::held(&scene), (2, 0));
}

fn caller_of(scene: &Scene) -> crate::support::client::Client {
    scene
        .client()
        .with("Authorization", "Bearer planted-bearer")
}

#[test]
fn a_key_that_is_lost_costs_what_it_sealed_and_nothing_else() {
    let mut scene = scene();
    put_secret(&scene, "s-0");
    crate::cases::put_maps(&scene, 2);
    let request = Request::default();
    let key = scene.folder().join("state/seal.key");
    for lose in [
        |key: &Path| std::fs::remove_file(key).expect("it is there"),
        |key: &Path| std::fs::write(key, [7; 32]).expect("written"),
        |key: &Path| std::fs::write(key, b"torn").expect("written"),
    ] {
        scene.restore();
        scene.connected();
        scene.client().list(SECRETS_HERE);
        scene.client().list(crate::cases::MAPS);
        assert_eq!(tokens::ask(&scene, "ns", "sa", &request).status, 201);
        scene.kill();
        lose(&key);
        scene.cut(Mode::Refuse);
        scene.start();
        let secrets = scene.client().get(SECRETS_HERE).expect("an answer");
        assert_eq!(secrets.status, 503, "unknown, and not empty");
        assert_eq!(tokens::ask(&scene, "ns", "sa", &request).status, 503);
        assert_eq!(tokens::held(&scene), (0, 0));
        assert_eq!(scene.client().list(crate::cases::MAPS).names().len(), 2);
        assert_eq!(std::fs::read(&key).expect("a key").len(), 32);
    }
    // Refetched, with the key that there is now.
    scene.restore();
    scene.connected();
    scene.client().list(SECRETS_HERE);
    scene.cut(Mode::Refuse);
    scene.restart();
    assert_eq!(scene.client().list(SECRETS_HERE).names(), ["s-0"]);
}

#[test]
fn a_key_elsewhere_is_used_and_never_made() {
    let mut scene = Scene::dark(agent(), Options::default(), &[]);
    let key = scene.folder().join("tpm.key");
    scene.add(&["--seal-key", &key.display().to_string()]);
    std::fs::write(&key, [9; 32]).expect("written");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o400)).expect("mine");
    put_secret(&scene, "s-0");
    scene.start();
    scene.client().list(SECRETS_HERE);
    assert!(!scene.folder().join("state/seal.key").exists());
    scene.cut(Mode::Refuse);
    scene.restart();
    assert_eq!(scene.client().list(SECRETS_HERE).names(), ["s-0"]);
    assert_eq!(std::fs::read(&key).expect("it stays"), [9; 32]);
}

#[test]
fn a_wrong_key_elsewhere_is_78_with_its_name_and_what_to_do() {
    let scene = Scene::dark(agent(), Options::default(), &[]);
    let key = scene.folder().join("tpm.key");
    let named = format!("--seal-key {:?}", key.display().to_string());
    let state = scene.folder().join("state").display().to_string();
    let ca = scene.folder().join("ca.crt").display().to_string();
    let file = scene.folder().join("toono.toml");
    let text = format!(
        "server = \"https://127.0.0.1:1\"\nca = {ca:?}\nstate-dir = {state:?}\nseal-key = {:?}\n",
        key.display().to_string()
    );
    std::fs::write(&file, text).expect("written");
    let said = || {
        let output = Command::new(agent().path)
            .args([
                "agent",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .args(["--log-level", "off", "--node-name", "a", "--config"])
            .arg(&file)
            .output()
            .expect("it runs");
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains(&named), "{line}");
        line
    };
    assert!(said().contains("can't be read"));
    assert!(!key.exists(), "it is not made");
    for (bytes, mode, what) in [
        (&[1; 31][..], 0o600, "must hold exactly 32 random bytes"),
        (&[1; 33], 0o600, "head -c 32 /dev/urandom"),
        (&[1; 32], 0o644, "chmod 600"),
    ] {
        std::fs::write(&key, bytes).expect("written");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("mine");
        let line = said();
        assert!(line.contains(what), "{line}");
    }
}

#[test]
fn a_sealed_record_that_was_put_in_anothers_place_is_dropped_and_fetched_again() {
    let mut scene = scene();
    put_secret(&scene, "s-0");
    let theirs = scene.client().with("Authorization", "Bearer other");
    theirs.list(SECRETS_HERE);
    scene.client().list(SECRETS_HERE);
    let (_, well) = scene.terminate();
    assert!(well);
    let mut logs: Vec<PathBuf> = files(&scene.folder().join("state/mirror"))
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("secrets-"))
        .collect();
    logs.sort();
    assert_eq!(logs.len(), 2);
    // The records of the other caller's collection behind the head of the agent's own: same key, same objects.
    let [other, own] = [0, 1].map(|n: usize| std::fs::read(&logs[n]).expect("a log"));
    let head = |bytes: &[u8]| {
        let len = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
        8 + 8 + len as usize
    };
    let mixed = [&own[..head(&own)], &other[head(&other)..]].concat();
    std::fs::write(&logs[1], mixed).expect("written");
    scene.cut(Mode::Refuse);
    scene.start();
    let answer = scene.client().get(&format!("{SECRETS_HERE}/s-0"));
    assert_eq!(answer.expect("an answer").status, 503);
    scene.restore();
    scene.connected();
    assert_eq!(scene.client().list(SECRETS_HERE).names(), ["s-0"]);
    scene.cut_off(Mode::Refuse);
    assert_eq!(scene.client().list(SECRETS_HERE).names(), ["s-0"]);
}
