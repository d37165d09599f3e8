//! What is in the file: sizes, names and order, and every weight against the checkpoint's.

use crate::checkpoint::{Case, Weights, demo, demo_weights, widened, write_weights};
use pg_quantize::{Checkpoint, Preset, Source, pack_to_vec};
use pg_runtime::format::block::dequantize_row;
use pg_runtime::format::{Container, WeightFormat};
use pg_runtime::model::Config;
use pg_runtime::model::names::{Part, TensorRole, Usage, all};
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::process::Command;

/// Every tensor of a packed model as f32, by its name in the file, with its sizes as the model means them.
fn expanded(file: &[u8]) -> BTreeMap<String, (TensorRole, WeightFormat, Vec<f32>)> {
    let container = Container::parse(file).unwrap();
    let roles = all(&Config::from_container(&container).unwrap());
    assert_eq!(roles.len(), container.tensors().len());
    let expand = |(role, info): (TensorRole, &pg_runtime::format::TensorInfo)| {
        assert_eq!(role.name, info.name, "the file's order is that of use");
        let k = role.dims[0];
        assert_eq!(info.dims, padded(info.format, &role.dims), "{}", role.name);
        let (bytes, rows) = (info.format.group_bytes(k), info.format.group_rows());
        let mut values = vec![0.0; role.dims.iter().product()];
        for (r, out) in values.chunks_mut(k).enumerate() {
            let group = &file[info.bytes.clone()][r / rows * bytes..][..bytes];
            dequantize_row(info.format, group, r % rows, out);
        }
        (role.name.clone(), (role, info.format, values))
    };
    roles.into_iter().zip(container.tensors()).map(expand).collect()
}

/// The sizes that the file has to show for a tensor of `dims`.
fn padded(format: WeightFormat, dims: &[usize]) -> Vec<usize> {
    let rows = dims.get(1).map(|&rows| format.padded_rows(rows));
    [format.padded(dims[0])].into_iter().chain(rows).collect()
}

fn demo_packed(preset: Preset) -> Vec<u8> {
    let checkpoint = Checkpoint::open(&Source::demo()).unwrap();
    let (file, report) = pack_to_vec(&checkpoint, preset).unwrap();
    assert_eq!(file.len() as u64, report.bytes);
    assert_eq!(Config::from_container(&Container::parse(&file).unwrap()).unwrap(), *checkpoint.config());
    file
}

#[test]
fn f32_files_hold_the_checkpoints_numbers() {
    let source = widened(&demo_weights());
    let of = |name: &str| -> Vec<f32> {
        source[name].2.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let found = expanded(&demo_packed(Preset::F32));
    for (ours, theirs) in [
        ("v.patch_embd.weight", "vision_tower.vision_model.embeddings.patch_embedding.weight"),
        ("v.position_embd.weight", "vision_tower.vision_model.embeddings.position_embedding.weight"),
        ("v.blk.2.ln2.bias", "vision_tower.vision_model.encoder.layers.2.layer_norm2.bias"),
        ("v.blk.4.ffn_down.weight", "vision_tower.vision_model.encoder.layers.4.mlp.fc2.weight"),
        ("v.post_ln.weight", "vision_tower.vision_model.post_layernorm.weight"),
        ("mm.input_projection.bias", "multi_modal_projector.linear.bias"),
        ("blk.3.attn_output.weight", "language_model.model.layers.3.self_attn.o_proj.weight"),
        ("blk.1.ffn_gate.weight", "language_model.model.layers.1.mlp.gate_proj.weight"),
    ] {
        assert_eq!(found[ours].2, of(theirs), "{ours}");
    }
    // Gemma's norms multiply by 1 + w.
    let factors: Vec<f32> = of("language_model.model.norm.weight").iter().map(|w| w + 1.0).collect();
    assert_eq!(found["output_norm.weight"].2, factors);
    // Rows from the image token on are padding.
    let table = of("language_model.model.embed_tokens.weight");
    assert_eq!(found["token_embd.weight"].2, table[..1920 * 160]);
    assert_eq!(table.len(), 1984 * 160);
}

#[test]
fn presets_choose_the_formats_they_promise() {
    for preset in Preset::ALL {
        for (role, format, _) in expanded(&demo_packed(preset)).into_values() {
            let expected = match (role.usage, preset, role.part) {
                (Usage::Values, ..) | (_, Preset::F32, _) => WeightFormat::F32,
                (_, Preset::F16, _) => WeightFormat::F16,
                (_, Preset::Q8, _) | (_, Preset::Q4, Part::Projector) => WeightFormat::Q8,
                (_, Preset::Q4, _) => WeightFormat::Q4,
            };
            assert_eq!(format, expected, "{} {}", preset.name(), role.name);
        }
    }
}

#[test]
fn the_report_says_what_was_lost() {
    let checkpoint = Checkpoint::open(&Source::demo()).unwrap();
    for (preset, group, range) in [
        (Preset::F32, "decoder", 0.0..=0.0),
        (Preset::F16, "decoder", 0.0..=3e-4),
        (Preset::Q8, "decoder", 0.003..=0.008),
        (Preset::Q4, "decoder", 0.06..=0.09),
        (Preset::Q4, "vision", 0.06..=0.09),
        (Preset::Q4, "projector", 0.003..=0.008),
        (Preset::Q4, "norms and biases", 0.0..=0.0),
    ] {
        let report = pack_to_vec(&checkpoint, preset).unwrap().1;
        let found = report.groups.iter().find(|g| g.name == group).unwrap();
        assert!(range.contains(&found.rms_error()), "{} {group}: {}", preset.name(), found.rms_error());
        let weights: u64 = report.groups.iter().map(|g| g.weights).sum();
        let expected: usize = all(checkpoint.config()).iter().map(|r| r.dims.iter().product::<usize>()).sum();
        assert_eq!(weights, expected as u64);
    }
}

#[test]
fn a_reader_by_others_agrees() {
    let Some(python) = std::env::var_os("PG_PYTHON") else {
        println!("skipped: PG_PYTHON names no Python with the packages gguf and numpy");
        return;
    };
    let case = Case::new();
    for preset in Preset::ALL {
        let file = demo_packed(preset);
        let path = case.out().join(format!("{}.gguf", preset.name()));
        std::fs::write(&path, &file).unwrap();
        let ours: Weights = expanded(&file)
            .into_iter()
            .map(|(name, (role, _, values))| {
                let shape = role.dims.iter().rev().copied().collect();
                (name, (Dtype::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
            })
            .collect();
        let expansion = case.out().join("expanded.safetensors");
        write_weights(&expansion, &ours);
        let script = demo().join("../../tests/peers/gguf-reader.py");
        let mut check = Command::new(&python);
        check.arg(script).arg(path).arg("--source").arg(demo().join("model.safetensors"));
        let output = check.arg("--expanded").arg(expansion).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        print!("{said}");
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }
}
