//! The images, as far as can be told without a container engine; `.ci/static` builds what they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::process;

use serde_json::Value;

use crate::files::{Helm, chart, find, read, root};

/// A stage of the Dockerfile: its instructions, each with what it is given, over all lines.
struct Stage {
    from: String,
    instructions: Vec<(String, String)>,
}

impl Stage {
    fn all(&self, instruction: &str) -> Vec<&str> {
        let found = self.instructions.iter().filter(|it| it.0 == instruction);
        found.map(|it| it.1.as_str()).collect()
    }
}

/// The stages by name.
fn stages() -> BTreeMap<String, Stage> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let mut stages = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (instruction, given) = line.split_once(' ').expect("an instruction");
        if instruction == "FROM" {
            let (from, name) = given.split_once(" AS ").expect("a name for each stage");
            name.clone_into(&mut last);
            let stage = Stage {
                from: from.to_owned(),
                instructions: Vec::new(),
            };
            assert!(stages.insert(last.clone(), stage).is_none(), "{last} twice");
        } else {
            let stage = stages.get_mut(&last).expect("FROM comes first");
            let instruction = (instruction.to_owned(), given.to_owned());
            stage.instructions.push(instruction);
        }
    }
    stages
}

/// The programs that cargo builds, and the version of Rust that it wants.
fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = process::Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Package and program.
fn programs() -> BTreeMap<String, String> {
    let metadata = metadata();
    let mut programs = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        for target in package["targets"].as_array().expect("targets") {
            if target["kind"][0] == "bin" {
                let name = target["name"].as_str().expect("a name").to_owned();
                let package = package["name"].as_str().expect("a name").to_owned();
                programs.insert(name, package);
            }
        }
    }
    programs
}

#[test]
fn each_image_holds_one_program_that_cargo_builds_and_nothing_to_attack() {
    let stages = stages();
    let programs = programs();
    let build = stages["build"].all("RUN").join(" ");
    for (image, program) in [
        ("operator", "hookswitch-operator"),
        ("receiver", "hookswitch-receiver"),
        ("cli", "hookswitch"),
    ] {
        let package = programs.get(program);
        let package = package.unwrap_or_else(|| panic!("cargo builds no {program}"));
        assert!(
            build.contains(&format!("-p {package} ")),
            "the build stage leaves {package} out"
        );
        assert!(build.contains(&format!("target/release/{program} ")));
        let stage = &stages[image];
        assert_eq!(
            stage.all("COPY"),
            [format!("--from=build /out/{program} /{program}")]
        );
        assert_eq!(stage.all("ENTRYPOINT"), [format!("[\"/{program}\"]")]);
        assert_eq!(stage.from, "base");
    }
    let base = &stages["base"];
    assert_eq!(base.from, "scratch");
    let [user] = base.all("USER")[..] else {
        panic!("one user");
    };
    let (user, group) = user.split_once(':').expect("user and group");
    for id in [user, group] {
        assert_ne!(id.parse::<u32>().expect("a number"), 0);
    }
    // Without public authorities no destination's certificate is trusted.
    let certificates = "/etc/ssl/certs/ca-certificates.crt";
    let copy = format!("--from=build {certificates} {certificates}");
    assert!(base.all("COPY").contains(&copy.as_str()));
}

#[test]
fn the_build_has_what_it_needs() {
    let metadata = metadata();
    let build = &stages()["build"];
    let rust = metadata["packages"][0]["rust_version"].as_str();
    let rust = rust.expect("a version");
    assert!(
        build.from.starts_with(&format!("rust:{rust}")) && build.from.ends_with("-alpine"),
        "{} is not Rust {rust} for musl",
        build.from
    );
    assert!(build.all("RUN").join(" ").contains("--locked --release"));
    // cargo looks at every member of the workspace, even at those that it does not build.
    let ignored = read(".dockerignore");
    let sent: BTreeSet<&str> = ignored
        .lines()
        .filter_map(|it| it.strip_prefix('!'))
        .collect();
    for package in metadata["packages"].as_array().expect("packages") {
        let manifest = package["manifest_path"].as_str().expect("a path");
        let folder = manifest.rsplit('/').nth(1).expect("a folder");
        assert!(sent.contains(folder), ".dockerignore keeps {folder} back");
    }
    for file in ["Cargo.toml", "Cargo.lock", "LICENSE"] {
        assert!(sent.contains(file), ".dockerignore keeps {file} back");
    }
}

#[tokio::test]
async fn the_chart_runs_the_images_as_they_are() {
    let stages = stages();
    let helm = Helm::new();
    let user = stages["base"].all("USER")[0].to_owned();
    let https = chart() + "/ci/tls-values.yaml";
    let mut open: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for arguments in [[].as_slice(), &["-f", &https]] {
        let objects = helm.objects(arguments).await;
        for (kind, image) in [("Deployment", "operator"), ("StatefulSet", "receiver")] {
            let object = find(&objects, kind, &format!("hookswitch-{image}"));
            let spec = &object["spec"]["template"]["spec"];
            let security = &spec["securityContext"];
            let ids = format!("{}:{}", security["runAsUser"], security["runAsGroup"]);
            assert_eq!(ids, user);
            let container = &spec["containers"][0];
            let name = container["image"].as_str().expect("an image");
            assert!(name.starts_with(&format!("hookswitch-{image}:")), "{name}");
            // The image's own.
            assert_eq!(container["command"], Value::Null);
            let ports = container["ports"].as_array().expect("ports").iter();
            let ports = ports.map(|it| it["containerPort"].as_u64().expect("a port"));
            open.entry(image).or_default().extend(ports);
        }
    }
    for (image, ports) in open {
        let exposed: BTreeSet<u64> = stages[image]
            .all("EXPOSE")
            .iter()
            .flat_map(|it| it.split(' '))
            .map(|it| it.parse().expect("a port"))
            .collect();
        assert_eq!(ports, exposed, "{image}");
    }
}
