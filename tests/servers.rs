//! Several API servers, a kubeconfig, a configuration file, and what SIGHUP reads again.

use std::process::Command;

use crate::support::apiserver::Options;
use crate::support::apiserver::kind::CONFIGMAPS;
use crate::support::cable::Cable;
use crate::support::cable::Mode;
use crate::support::object;

const PATH: &str = "/api/v1/namespaces/edge/configmaps";

/// An agent that knows the server by two ways, of which the second is returned.
fn two_ways(balance: &str) -> (crate::Scene, Cable) {
    let mut scene = crate::Scene::dark(crate::agent(), Options::default(), &[]);
    let second = Cable::lay(scene.server.address());
    let address = format!("https://{}", second.address());
    scene.add(&["--server", &address, "--lb-mode", balance]);
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", "one", &[], "x"));
    scene.start();
    (scene, second)
}

/// Whether a request crosses this cable now.
fn used(scene: &crate::Scene, cable: &Cable) -> bool {
    let before = cable.counters();
    let answer = scene.client().get(PATH).expect("an answer");
    assert_eq!(answer.names(), ["one"]);
    cable.counters().since(&before).bytes() > 200
}

#[test]
fn the_second_server_is_used_while_the_first_is_gone_and_the_first_when_it_is_back() {
    let (scene, second) = two_ways("priority");
    scene.connected();
    assert!(used(&scene, &scene.cable) && !used(&scene, &second));
    let version = scene.client().list(PATH).version();
    let mut watch = scene
        .client()
        .watching(&format!("{PATH}?watch=true&resourceVersion={version}"));
    for mode in [Mode::Refuse, Mode::Drop] {
        scene.cut(mode);
        scene.wait("the second is used", || used(&scene, &second));
        let answer = scene.client().get(PATH).expect("an answer");
        assert_eq!(
            answer.header("warning"),
            None,
            "{mode:?}: the cloud answers"
        );
        scene
            .server
            .patch_labels(&CONFIGMAPS, "edge", "one", &[("mode", Some("cut"))]);
        watch.change();
        scene.restore();
        scene.wait("the first is used again", || used(&scene, &scene.cable));
        scene
            .server
            .patch_labels(&CONFIGMAPS, "edge", "one", &[("mode", Some("back"))]);
        watch.change();
    }
    second.set(Mode::Refuse);
    assert!(used(&scene, &scene.cable), "nobody misses it");
    scene.cut(Mode::Refuse);
    scene.wait("both are gone", || {
        let answer = scene.client().get(PATH).expect("an answer");
        answer.header("warning").is_some() && answer.names() == ["one"]
    });
}

#[test]
fn round_robin_takes_the_next_server_with_each_connection() {
    let (scene, second) = two_ways("round-robin");
    scene.connected();
    let first = used(&scene, &scene.cable);
    for round in 0..4 {
        let now = if (round % 2 == 0) == first {
            &scene.cable
        } else {
            &second
        };
        scene.wait("its turn", || used(&scene, now));
        now.set(Mode::Reset);
        scene.wait("it has lost its connection", || !used(&scene, now));
        now.set(Mode::Pass);
    }
}

#[test]
fn a_configuration_file_and_a_kubeconfig_do_what_flags_do_and_sighup_reads_them_again() {
    let mut scene = crate::Scene::dark(crate::agent(), Options::default(), &[]);
    scene
        .server
        .put(&CONFIGMAPS, object::configmap("edge", "one", &[], "x"));
    let second = Cable::lay(scene.server.address());
    let kubeconfig = |cable: &Cable| {
        format!(
            "current-context: a\ncontexts:\n- name: a\n  context: {{cluster: c, user: u}}\nclusters:\n- name: c\n  \
             cluster:\n    server: https://{}\n    certificate-authority: ca.crt\nusers:\n- name: u\n  user:\n    \
             client-certificate: own.crt\n    client-key: own.key\n",
            cable.address()
        )
    };
    let path = scene.folder().join("kubeconfig");
    std::fs::write(&path, kubeconfig(&scene.cable)).expect("written");
    let file = scene.folder().join("toono.toml");
    let text = format!(
        "kubeconfig = {:?}\nlisten = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\nstate-dir = {:?}\nnode-name = 'edge-00'\n\
         log-level = 'debug'\n",
        path.display().to_string(),
        scene.folder().join("state").display().to_string()
    );
    std::fs::write(&file, text).expect("written");
    scene.start_with(&["--config", &file.display().to_string()]);
    scene.connected();
    assert!(used(&scene, &scene.cable));
    let reload = || {
        let pid = scene.pid().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(sent.expect("kill is there").success());
    };
    let logged = |what: &str| scene.log().iter().any(|line| line.contains(what));
    std::fs::write(&path, "nonsense").expect("written");
    reload();
    scene.wait("the mistake is named", || {
        logged("the configuration stays as it was: ")
            && logged("current-context: must name a context")
    });
    assert!(used(&scene, &scene.cable));
    std::fs::write(&path, kubeconfig(&second)).expect("written");
    reload();
    scene.wait("the other way is used", || used(&scene, &second));
    assert!(!used(&scene, &scene.cable));
}

#[test]
fn a_wrong_configuration_ends_with_78_and_one_line_that_says_what_and_where() {
    let file = std::env::temp_dir().join(format!("toono-wrong-{}.toml", std::process::id()));
    std::fs::write(
        &file,
        "server = 'https://127.0.0.1:1'\nca = 'Cargo.toml'\nflash-cap = 'much'\n",
    )
    .expect("written");
    let path = file.display().to_string();
    for (arguments, code, what) in [
        (
            &["agent", "--config", &path][..],
            78,
            "toml:3: flash-cap \"much\": must be megabytes",
        ),
        (
            &["agent", "--config", "/none"],
            78,
            "toono: /none: can't be read: ",
        ),
        (
            &["agent", "--config", &path, "--flash-cap", "8"],
            78,
            "Cargo.toml: holds no PEM certificate",
        ),
        (
            &["agent", "--server", "x"],
            78,
            "--server \"x\": must be https://HOST[:PORT]",
        ),
        (&["agent", "--no-such-flag"], 64, "--no-such-flag"),
    ] {
        let output = Command::new(crate::agent().path)
            .args(arguments)
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(what), "{arguments:?}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
    std::fs::remove_file(&file).expect("it is there");
}
