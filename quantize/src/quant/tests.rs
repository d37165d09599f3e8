//! Scales and rounding on their own, without files.

use super::*;
use pg_runtime::format::block::dequantize_row;

/// Normal values from a fixed seed (xorshift and Box-Muller).
fn gaussian(n: usize, mut seed: u64) -> Vec<f32> {
    let mut uniform = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        ((seed >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    (0..n)
        .map(|_| ((-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()) as f32)
        .collect()
}

/// Root mean square error relative to the values' own, rows of `k` stored as 4-bit blocks by the search, and with the
/// scale of plain rounding (the extreme becomes -8) at f16 for every block, as GGUF's `Q4_0` has it.
fn q4_errors(x: &[f32], k: usize) -> (f64, f64) {
    let (mut searched, mut plain) = (Tally::default(), Tally::default());
    let mut group = vec![0; WeightFormat::Q4.group_bytes(k)];
    for row in x.chunks_exact(k) {
        searched.add(encode_q4(row, 0, &mut group));
        for x in blocks(row) {
            let scale = f16::from_f32(largest(&x).1 / -8.0).to_f32();
            plain.add_block(&x, scale, &q4::rounded(&x, scale));
        }
    }
    let error = |t: Tally| (t.error_squares / t.squares).sqrt();
    (error(searched), error(plain))
}

/// The bundled checkpoint's decoder matrices, as f32.
fn demo_weights() -> Vec<f32> {
    let file = include_bytes!("../../demo/model.safetensors");
    let tensors = ::safetensors::SafeTensors::deserialize(file).unwrap();
    let matrices = tensors
        .iter()
        .filter(|(name, t)| name.contains("language_model.model.layers") && t.shape().len() == 2);
    let bytes = matrices.flat_map(|(_, t)| t.data().as_chunks::<2>().0.to_vec());
    bytes.map(|b| bf16::from_le_bytes(b).to_f32()).collect()
}

#[test]
fn q4_search_beats_plain_rounding() {
    let heavy: Vec<f32> = gaussian(1 << 16, 5).iter().map(|v| v * v * v).collect();
    for (what, x, k, least) in [
        ("gaussian", gaussian(1 << 18, 3), 2048, 0.05),
        ("cubed gaussian", heavy, 2048, 0.025),
        ("demo decoder", demo_weights(), 160, 0.04),
    ] {
        let (searched, plain) = q4_errors(&x, k);
        let gain = 1.0 - searched / plain;
        println!("q4, {what}: plain {plain:.5}, searched {searched:.5}, {:.1} % less", gain * 100.0);
        assert!(gain > least, "{what}: {gain}");
    }
}

/// However different the blocks of a row are: their scales are at most half a step of the row's off.
#[test]
fn rows_of_uneven_blocks_lose_little() {
    for (i, row) in gaussian(1 << 14, 9).chunks_exact(1024).enumerate() {
        for spread in [1, 2, 4, 8] {
            let row: Vec<f32> = row
                .iter()
                .enumerate()
                .map(|(j, v)| {
                    v * 2f32.powi((j / BLOCK * 7 + i) as i32 % spread) * 10f32.powi(i as i32 % 12 - 8)
                })
                .collect();
            let (searched, plain) = q4_errors(&row, 1024);
            assert!(searched < plain, "row {i}, spread {spread}: {searched} {plain}");
        }
    }
}

#[test]
fn values_and_steps_stay_in_their_range() {
    for (i, block) in gaussian(1 << 13, 9).as_chunks::<BLOCK>().0.iter().enumerate() {
        let x = block.map(|v| v * 10f32.powi(i as i32 % 30 - 15));
        let (steps, q) = q4::quantize(&x, q4::row_scale([x].into_iter()));
        assert!(steps.unsigned_abs() >= 126 && q.iter().all(|v| (-8..8).contains(v)), "block {i}: {steps}");
        // A block far below its row's largest vanishes.
        assert_eq!(q4::quantize(&x, q4::row_scale([x.map(|v| v * 1e6)].into_iter())).0, 0);
    }
}

#[test]
fn q8_is_off_by_half_a_step_at_most() {
    for (i, block) in gaussian(1 << 14, 11).as_chunks::<BLOCK>().0.iter().enumerate() {
        let x = block.map(|v| v * 10f32.powi(i as i32 % 12 - 8));
        let (scale, q) = q8::quantize(&x).unwrap();
        let scale = scale.to_f32();
        for (x, q) in x.iter().zip(q) {
            let off = (x - scale * f32::from(q)).abs();
            // Rounding the product and the quotient in f32 may move a tie.
            assert!(off <= scale * 0.5 * 1.0001, "block {i}: {x} {q} {scale}");
        }
    }
}

#[test]
fn q8_search_beats_plain_rounding() {
    let heavy: Vec<f32> = gaussian(1 << 16, 5).iter().map(|v| v * v * v).collect();
    for (what, x, least) in [
        ("gaussian", gaussian(1 << 16, 3), 0.07),
        ("cubed gaussian", heavy, 0.03),
        ("demo decoder", demo_weights(), 0.06),
    ] {
        let (mut searched, mut plain) = (0.0, 0.0);
        for x in x.as_chunks::<BLOCK>().0 {
            let (scale, q) = q8::quantize(x).unwrap();
            searched += f64::from(squared_error(x, scale.to_f32(), &q));
            let scale = f16::from_f32(largest(x).1.abs() / 127.0).to_f32();
            plain += f64::from(squared_error(x, scale, &x.map(|v| (v / scale).round() as i8)));
        }
        let gain = 1.0 - (searched / plain).sqrt();
        println!("q8, {what}: {:.1} % less", gain * 100.0);
        assert!(gain > least, "{what}: {gain}");
    }
}

#[test]
fn blocks_without_values_and_constant_blocks() {
    for zero in [0.0, -0.0] {
        assert_eq!(q8::quantize(&[zero; BLOCK]), Some((f16::ZERO, [0; BLOCK])));
        assert_eq!(
            (q4::best_scale(&[zero; BLOCK]), q4::quantize(&[zero; BLOCK], 1.0)),
            (0.0, (0, [0; BLOCK]))
        );
        assert_eq!(q4::quantize(&[1.0; BLOCK], zero), (0, [0; BLOCK]));
    }
    assert_eq!(q8::quantize(&[1e-30; BLOCK]).unwrap().1, [0; BLOCK]);
    assert_eq!(q8::quantize(&[1e30; BLOCK]), None);
    for value in [3.0, -0.5] {
        let unit = q4::row_scale([[value; BLOCK]].into_iter());
        let (steps, q4) = q4::quantize(&[value; BLOCK], unit);
        let (scale, q8) = q8::quantize(&[value; BLOCK]).unwrap();
        for found in [unit * f32::from(steps) * f32::from(q4[7]), scale.to_f32() * f32::from(q8[7])] {
            assert!((found - value).abs() <= value.abs() * 1e-3, "{value} became {found}");
        }
    }
}

#[test]
fn rows_are_packed_alike_by_any_number_of_threads() {
    let (rows, k) = (37, 75);
    let x = gaussian(rows * k, 17);
    let source: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
    for format in WeightFormat::ALL {
        let kind = RowKind { precision: Precision::F32, offset: 0.0, k, format };
        let pack = |threads| {
            let mut packed = vec![0xaa; format.matrix_bytes(k, rows)];
            pack_rows(kind, 0, &source, &mut packed, threads).map(|_| packed).unwrap()
        };
        let one = pack(1);
        for threads in [2, 3, 36, 64] {
            assert_eq!(pack(threads), one);
        }
        let mut row = vec![0.0; k];
        let (group, bytes) = (36 / format.group_rows(), format.group_bytes(k));
        dequantize_row(format, &one[group * bytes..][..bytes], 36 % format.group_rows(), &mut row);
        let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
        let d: Vec<f32> = row.iter().zip(&x[36 * k..]).map(|(a, b)| a - b).collect();
        assert!(norm(&d) < 0.1 * norm(&row), "{}", format.name());
    }
}

#[test]
fn unusable_values_are_named() {
    for (value, format, message) in [
        (f32::NAN, WeightFormat::Q4, "holds NaN in row 5, column 33"),
        (f32::NEG_INFINITY, WeightFormat::F32, "holds -inf in row 5, column 33"),
        (1e30, WeightFormat::Q8, "in row 5, column 33, too large for q8"),
        (-7e4, WeightFormat::F16, "holds -70000 in row 5, column 33, too large for f16"),
    ] {
        let mut x = gaussian(4 * 40, 1);
        x[2 * 40 + 33] = value;
        let source: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
        let kind = RowKind { precision: Precision::F32, offset: 0.0, k: 40, format };
        let mut packed = vec![0; format.matrix_bytes(40, 4)];
        let found = pack_rows(kind, 3, &source, &mut packed, 2).unwrap_err().to_string();
        assert!(found.contains(message), "{found}");
    }
}

#[test]
fn norms_become_factors_and_half_precisions_are_read() {
    let kind = RowKind { precision: Precision::Bf16, offset: 1.0, k: 3, format: WeightFormat::F32 };
    let source: Vec<u8> =
        [0.5f32, -0.25, 2.0].iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
    let mut packed = [0; 12];
    pack_rows(kind, 0, &source, &mut packed, 1).unwrap();
    let mut values = [0.0; 3];
    dequantize_row(WeightFormat::F32, &packed, 0, &mut values);
    assert_eq!(values, [1.5, 0.75, 3.0]);

    let kind = RowKind { precision: Precision::F16, offset: 0.0, ..kind };
    let source: Vec<u8> =
        [0.1f32, 6e-8, -65504.0].iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
    pack_rows(kind, 0, &source, &mut packed, 1).unwrap();
    dequantize_row(WeightFormat::F32, &packed, 0, &mut values);
    assert_eq!(values, [0.1, 6e-8, -65504.0].map(|v| f16::from_f32(v).to_f32()));
}
