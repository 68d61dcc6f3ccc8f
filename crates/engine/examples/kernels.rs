//! Measures the kernels on the shapes of one training step: ViT-S/16, 2×224 + 8×96 crops, batch 8, 65,536 prototypes; and on
//! those of ResNet-50 and XCiT-S at 224 pixels, 8 images.
//!
//! `cargo run --release -p dinoxide-engine --example kernels [filter] [bf16]` prints the median of ten runs after two to
//! warm up, on all cores, in `f32` or with products of bf16.

use std::hint::black_box;
use std::time::Instant;

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::*;
use dinoxide_engine::values::{Precision, Values, ValuesMut};
use half::bf16;

/// Tokens of the packed batch: 16 global crops of 197 and 64 local ones of 37.
const TOKENS: usize = 16 * 197 + 64 * 37;
const WIDTH: usize = 384;
const PROTOTYPES: usize = 65_536;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let half = words.iter().any(|word| word == "bf16");
    let filter = words.into_iter().find(|word| word != "bf16").unwrap_or_default();
    let cpu = if half { Cpu::bf16().unwrap_or_else(Cpu::bf16_anywhere) } else { Cpu::new() };
    let bench = Bench { filter, cpu };
    bench.peak();
    bench.products();
    bench.convolutions();
    bench.attentions();
    bench.cross_covariances();
    bench.rows();
    bench.head();
    bench.updates();
}

/// What a kernel's time is held against.
#[derive(Clone, Copy)]
enum Work {
    /// Floating-point operations.
    Flops(f64),
    /// Bytes read and written.
    Bytes(f64),
}

struct Bench {
    filter: String,
    cpu: Cpu,
}

/// Values between −1 and 1 without a pattern that a cache or branch could learn.
fn values(len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as i32 as f32 / i32::MAX as f32
    };
    std::iter::repeat_with(next).take(len).collect()
}

impl Bench {
    fn time(&self, name: &str, work: Work, mut run: impl FnMut()) {
        if !name.contains(&self.filter) {
            return;
        }
        let mut seconds: Vec<f64> = (0..12)
            .map(|_| {
                let start = Instant::now();
                run();
                start.elapsed().as_secs_f64()
            })
            .skip(2)
            .collect();
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        let (rate, unit) = match work {
            Work::Flops(flops) => (flops / median / 1e9, "GFLOP/s"),
            Work::Bytes(bytes) => (bytes / median / 1e9, "GB/s"),
        };
        println!("{name:<44} {:>9.3} ms  {rate:>8.1} {unit}", median * 1e3);
    }

    /// The ceilings that the rates below are held against.
    fn peak(&self) {
        println!("{:<44} {:>25.1} GFLOP/s", "peak of multiply-add", self.cpu.peak_flops() / 1e9);
        println!("{:<44} {:>25.1} GB/s", "peak of memory", self.cpu.peak_memory_rate() / 1e9);
    }

    /// What a branch hands from one operation to the next, as these kernels want it.
    fn between<'a>(&self, values: &'a [f32], half: &'a [bf16]) -> Values<'a, f32> {
        match Kernels::<f32>::precision(&self.cpu) {
            Precision::F32 => Values::Full(values),
            Precision::Bf16 => Values::Half(&half[..values.len()]),
        }
    }

    fn products(&self) {
        for (name, rows, inputs, outputs, [x_between, out_between]) in [
            ("qkv", TOKENS, WIDTH, 3 * WIDTH, [true, true]),
            ("projection", TOKENS, WIDTH, WIDTH, [false, false]),
            ("mlp up", TOKENS, WIDTH, 4 * WIDTH, [true, true]),
            ("mlp down", TOKENS, 4 * WIDTH, WIDTH, [true, false]),
            ("head 1", 80, WIDTH, 2048, [false, true]),
            ("head 2", 80, 2048, 2048, [true, true]),
            ("head 3", 80, 2048, 256, [true, false]),
        ] {
            let size = LinearSize { rows, inputs, outputs };
            let (weight, bias) = (values(outputs * inputs), values(outputs));
            let (mut d_weight, mut d_bias) = (weight.clone(), bias.clone());
            let [full_x, full_out, mut d_x, mut out] =
                [rows * inputs, rows * outputs, rows * inputs, rows * outputs].map(values);
            let [half_x, half_out] = [&full_x, &full_out]
                .map(|full| -> Vec<bf16> { full.iter().map(|value| bf16::from_f32(*value)).collect() });
            let (mut half_pre, mut half_to) = (half_out.clone(), half_out.clone());
            let x = if x_between { self.between(&full_x, &half_x) } else { (&full_x).into() };
            let d_out = if out_between { self.between(&full_out, &half_out) } else { (&full_out).into() };
            let rounds = matches!(d_out, Values::Half(_));
            let flops = 2.0 * (rows * inputs * outputs) as f64;
            let op = Linear { x, weight: &weight, bias: Some(&bias), size, packed: None };
            if name == "mlp up" || name.starts_with("head") && out_between {
                let mut pre = out.clone();
                self.time(&format!("{name}: linear_gelu"), Work::Flops(flops), || match rounds {
                    true => {
                        self.cpu.linear_gelu(op, Some(ValuesMut::Half(&mut half_pre)), ValuesMut::Half(&mut half_to))
                    }
                    false => self.cpu.linear_gelu(op, Some((&mut pre).into()), (&mut out).into()),
                });
            } else {
                self.time(&format!("{name}: linear"), Work::Flops(flops), || match rounds {
                    true => self.cpu.linear(op, ValuesMut::Half(&mut half_to)),
                    false => self.cpu.linear(op, (&mut out).into()),
                });
            }
            if name == "mlp down" {
                let (mut kept, mut half_kept, mut half_d) = (full_x.clone(), half_x.clone(), half_x.clone());
                self.time(&format!("{name}: gelu_linear_input_grad"), Work::Flops(flops), || match x {
                    Values::Half(_) => self.cpu.gelu_linear_input_grad(
                        d_out,
                        &weight,
                        size,
                        ValuesMut::Half(&mut half_kept),
                        ValuesMut::Half(&mut half_d),
                    ),
                    Values::Full(_) => {
                        self.cpu.gelu_linear_input_grad(d_out, &weight, size, (&mut kept).into(), (&mut d_x).into());
                    }
                });
            } else {
                self.time(&format!("{name}: linear_input_grad"), Work::Flops(flops), || {
                    self.cpu.linear_input_grad(d_out, &weight, size, Write::Replace, &mut d_x);
                });
            }
            self.time(&format!("{name}: linear_weight_grad"), Work::Flops(flops), || {
                self.cpu.linear_weight_grad(d_out, x, size, &mut d_weight, Some(&mut d_bias));
            });
        }
    }

    /// ResNet-50's, one of each shape: side of the input, channels in and out, kernel, stride.
    fn convolutions(&self) {
        for [side, inputs, outputs, kernel, stride] in [
            [224, 3, 64, 7, 2],
            [56, 64, 64, 1, 1],
            [56, 64, 64, 3, 1],
            [56, 64, 256, 1, 1],
            [56, 256, 64, 1, 1],
            [56, 256, 128, 1, 1],
            [56, 128, 128, 3, 2],
            [28, 128, 512, 1, 1],
            [56, 256, 512, 1, 2],
            [28, 512, 128, 1, 1],
            [28, 128, 128, 3, 1],
            [28, 512, 256, 1, 1],
            [28, 256, 256, 3, 2],
            [14, 256, 1024, 1, 1],
            [28, 512, 1024, 1, 2],
            [14, 1024, 256, 1, 1],
            [14, 256, 256, 3, 1],
            [14, 1024, 512, 1, 1],
            [14, 512, 512, 3, 2],
            [7, 512, 2048, 1, 1],
            [14, 1024, 2048, 1, 2],
            [7, 2048, 512, 1, 1],
            [7, 512, 512, 3, 1],
        ] {
            let name = format!("conv {side} {inputs}-{outputs} {kernel}x{kernel}/{stride}");
            let grid = Grid { images: 8, height: side, width: side };
            let size = ConvSize { grid, inputs, outputs, window: Window { kernel, stride, padding: kernel / 2 } };
            let rows = size.out_grid().pixels();
            let (x, weight, full) = (values(grid.pixels() * inputs), values(size.weight_len()), values(rows * outputs));
            let half: Vec<bf16> = full.iter().map(|value| bf16::from_f32(*value)).collect();
            let d_out = self.between(&full, &half);
            let (mut out, mut half_out, mut d_x, mut d_weight) =
                (full.clone(), half.clone(), x.clone(), weight.clone());
            let flops = Work::Flops(2.0 * (rows * size.weight_len()) as f64);
            let op = Conv { x: (&x).into(), weight: &weight, bias: None, size };
            self.time(&format!("{name}: forward"), flops, || match d_out {
                Values::Full(_) => self.cpu.conv2d(op, (&mut out).into()),
                Values::Half(_) => self.cpu.conv2d(op, ValuesMut::Half(&mut half_out)),
            });
            if inputs > 3 {
                self.time(&format!("{name}: input_grad"), flops, || {
                    self.cpu.conv2d_input_grad(d_out, &weight, size, Write::Replace, &mut d_x);
                });
            }
            self.time(&format!("{name}: weight_grad"), flops, || {
                self.cpu.conv2d_weight_grad(d_out, op.x, size, &mut d_weight, None);
            });
        }
        self.residual_norms();
    }

    /// The normalisations of ResNet-50's first stage.
    fn residual_norms(&self) {
        let (rows, width) = (8 * 56 * 56, 256);
        let (x, skip, gamma, beta) = (values(rows * width), values(rows * width), values(width), values(width));
        let half: Vec<bf16> = x.iter().map(|value| bf16::from_f32(*value)).collect();
        let mut half_d = half.clone();
        let [mut out, mut d_x, mut d_out] = [0; 3].map(|_| x.clone());
        let [mut mean, mut variance, mut d_gamma, mut d_beta] = [0; 4].map(|_| beta.clone());
        // Bytes of one array of what is handed over, and of one in full precision.
        let between = self.between(&x, &half);
        let [handed, full] = [if let Values::Half(_) = between { 2 } else { 4 }, 4].map(|size| rows * width * size);
        let (gamma, beta, eps, activation) = (&gamma[..], &beta[..], 1e-5, Activation::Relu);
        let op = BatchNormForward { x: between, gamma, beta, eps, skip: Some(&skip), activation };
        self.time("batch_norm with skip", Work::Bytes((2 * handed + 2 * full) as f64), || {
            self.cpu.batch_norm(op, (&mut out).into(), &mut mean, &mut variance);
        });
        let op = BatchNormForward { skip: None, ..op };
        self.time("batch_norm", Work::Bytes((2 * handed + full) as f64), || {
            self.cpu.batch_norm(op, (&mut out).into(), &mut mean, &mut variance);
        });
        for (name, passed, arrays) in
            [("batch_norm_backward with skip", Passed::Positive(&skip), 4), ("batch_norm_backward", Passed::Normed, 2)]
        {
            let (mean, variance) = (&mean[..], &variance[..]);
            let op = BatchNormBackward { x: between, gamma, beta, mean, variance, eps, passed };
            self.time(name, Work::Bytes((3 * handed + arrays * full) as f64), || {
                let grad = BatchNormGrad { d_out: &mut d_out, gamma: Some(&mut d_gamma), beta: Some(&mut d_beta) };
                match between {
                    Values::Full(_) => self.cpu.batch_norm_backward(op, grad, (&mut d_x).into()),
                    Values::Half(_) => self.cpu.batch_norm_backward(op, grad, ValuesMut::Half(&mut half_d)),
                }
            });
        }
        let (grid, window) = (Grid { images: 8, height: 112, width: 112 }, Window { kernel: 3, stride: 2, padding: 1 });
        let (x, mut out) = (&x[..grid.pixels() * 64], values(grid.windows(window).pixels() * 64));
        let (mut taps, mut d_x, bytes) = (out.clone(), x.to_vec(), Work::Bytes((4 * (x.len() + 2 * out.len())) as f64));
        self.time("max_pool", bytes, || self.cpu.max_pool(x, grid, window, &mut out, &mut taps));
        self.time("max_pool_backward", bytes, || {
            self.cpu.max_pool_backward(&out, &taps, grid, window, &mut d_x);
        });
        let patches = Patches { images: 8, height: 224, width: 224, channels: 3, patch: 1 };
        let (bytes, mut out) = (vec![7; 8 * 224 * 224 * 3], values(8 * 224 * 224 * 3));
        let normalize = Normalize { mean: vec![0.5; 3], std: vec![0.25; 3] };
        self.time("pixels", Work::Bytes((5 * bytes.len()) as f64), || {
            self.cpu.patchify(&bytes, patches, &normalize, &mut out);
        });
    }

    fn attentions(&self) {
        for (name, count, len) in
            [("global", 16, 197), ("local", 64, 37), ("cifar global", 512, 17), ("cifar local", 512, 5)]
        {
            let (heads, head_dim) = (6, 64);
            let segments: Vec<Segment> = (0..count).map(|index| Segment { start: index * len, len }).collect();
            let tokens = count * len;
            let qkv = values(tokens * 3 * heads * head_dim);
            let d_out = values(tokens * heads * head_dim);
            let (mut out, mut log_sum_exp) = (d_out.clone(), values(tokens * heads));
            let mut d_qkv = qkv.clone();
            let op = Attention { qkv: (&qkv).into(), heads, head_dim, segments: &segments, queries: usize::MAX };
            let flops = 4.0 * (count * heads * len * len * head_dim) as f64;
            self.time(&format!("attention {name}: forward"), Work::Flops(flops), || {
                self.cpu.attention(op, &mut out, &mut log_sum_exp);
            });
            let saved = AttentionBackward { d_out: &d_out, log_sum_exp: &log_sum_exp };
            self.time(&format!("attention {name}: backward"), Work::Flops(2.5 * flops), || {
                self.cpu.attention_backward(op, saved, (&mut d_qkv).into());
            });
        }
    }

    /// XCiT-S/16's and /8's, 8 images.
    fn cross_covariances(&self) {
        for (name, count, len) in [("224/16", 8, 196), ("224/8", 8, 784), ("96/16", 64, 36)] {
            let (heads, head_dim) = (8, 48);
            let segments: Vec<Segment> = (0..count).map(|index| Segment { start: index * len, len }).collect();
            let [full, d_out] = [3, 1].map(|parts| values(count * len * parts * heads * head_dim));
            let half: Vec<bf16> = full.iter().map(|value| bf16::from_f32(*value)).collect();
            let (mut out, mut d_qkv, mut half_d_qkv) = (d_out.clone(), full.clone(), half.clone());
            let (qkv, segments, temperature) = (self.between(&full, &half), &segments[..], &[1.0; 8][..]);
            let op = CrossCovariance { qkv, heads, head_dim, segments, temperature, eps: 1e-12 };
            let flops = 4.0 * (count * len * heads * head_dim * head_dim) as f64;
            self.time(&format!("cross_covariance {name}: forward"), Work::Flops(flops), || {
                self.cpu.cross_covariance(op, &mut out);
            });
            self.time(&format!("cross_covariance {name}: backward"), Work::Flops(2.5 * flops), || match qkv {
                Values::Full(_) => self.cpu.cross_covariance_backward(op, &d_out, (&mut d_qkv).into(), None),
                Values::Half(_) => {
                    self.cpu.cross_covariance_backward(op, &d_out, ValuesMut::Half(&mut half_d_qkv), None);
                }
            });
        }
    }

    fn rows(&self) {
        let len = TOKENS * WIDTH;
        let bytes = |arrays: usize| Work::Bytes((arrays * len * 4) as f64);
        let (x, d_out, gamma, beta) = (values(len), values(len), values(WIDTH), values(WIDTH));
        let (mut out, mut stats) = (values(len), values(2 * TOKENS));
        let op = LayerNorm { x: &x, gamma: &gamma, beta: &beta, eps: 1e-6 };
        self.time("layer_norm", bytes(2), || self.cpu.layer_norm(op, (&mut out).into(), &mut stats));
        let (mut d_x, mut d_gamma, mut d_beta) = (values(len), values(WIDTH), values(WIDTH));
        let op = LayerNormBackward { d_out: &d_out, x: &x, gamma: &gamma, stats: &stats };
        self.time("layer_norm_backward", bytes(4), || {
            self.cpu.layer_norm_backward(op, Write::Add, &mut d_x, &mut d_gamma, &mut d_beta);
        });
        let op = Residual { branch: &d_out, gamma: None, width: WIDTH };
        self.time("residual", bytes(3), || self.cpu.residual(&x, op, &mut out));
        self.time("residual_backward", bytes(2), || self.cpu.residual_backward(&x, op, &mut out, None));
        self.time("add", bytes(3), || self.cpu.add(&x, &mut out));
        let wide = values(4 * len);
        let mut out = wide.clone();
        self.time("gelu", bytes(8), || self.cpu.gelu(&wide, &mut out));
        self.time("gelu_backward", bytes(12), || self.cpu.gelu_backward(&wide, &mut out));
        let mut sums = values(4 * WIDTH);
        self.time("add_column_sums", bytes(4), || self.cpu.add_column_sums((&wide).into(), &mut sums));
    }

    fn head(&self) {
        let (images, inputs) = (8, 256);
        for (name, rows) in [("student", 10 * images), ("teacher", 2 * images)] {
            let size = LinearSize { rows, inputs, outputs: PROTOTYPES };
            let (x, v, g) = (values(rows * inputs), values(PROTOTYPES * inputs), vec![1.0; PROTOTYPES]);
            let (mut inverse_norms, mut out) = (values(PROTOTYPES), values(rows * PROTOTYPES));
            let op = WeightNormLinear { x: &x, v: &v, g: &g, size };
            let flops = 2.0 * (rows * inputs * PROTOTYPES) as f64;
            self.time(&format!("weight_norm_linear {name}"), Work::Flops(flops), || {
                self.cpu.weight_norm_linear(op, &mut inverse_norms, &mut out);
            });
            let (mut d_x, mut d_v) = (x.clone(), v.clone());
            self.time(&format!("weight_norm_linear_backward {name}"), Work::Flops(2.0 * flops), || {
                let grad = WeightNormLinearGrad { x: Some(&mut d_x), v: Some(&mut d_v), g: None };
                self.cpu.weight_norm_linear_backward(op, &inverse_norms, &mut out, grad);
            });
        }
        let (logits, center) = (values(10 * images * PROTOTYPES), values(PROTOTYPES));
        let mut probs = values(2 * images * PROTOTYPES);
        let bytes = |rows: usize| Work::Bytes((rows * PROTOTYPES * 4) as f64);
        let teacher = Targets { logits: &logits[..probs.len()], center: &center, temp: 0.04 };
        self.time("targets", bytes(2 * 2 * images), || {
            self.cpu.targets(teacher, &mut probs);
        });
        let views = SoftCrossEntropy {
            logits: &logits,
            targets: &probs,
            temp: 0.1,
            images,
            teacher_views: 2,
            student_views: 10,
        };
        let (mut log_sum_exp, mut d_logits) = (values(10 * images), logits.clone());
        self.time("soft_cross_entropy", bytes(10 * images), || {
            self.cpu.soft_cross_entropy(views, &mut log_sum_exp);
        });
        self.time("soft_cross_entropy_backward", bytes(2 * 10 * images), || {
            self.cpu.soft_cross_entropy_backward(views, &log_sum_exp, 1.0, &mut d_logits);
        });
    }

    fn updates(&self) {
        // Parameters of ViT-S/16 with DINO's head.
        let len = 21_670_000 + 22_300_000;
        let bytes = |passes: usize| Work::Bytes((passes * len * 4) as f64);
        let mut buffers: Vec<Vec<f32>> = (0..5).map(|_| vec![0.01; len]).collect();
        let [value, grad, first, second, teacher] = &mut buffers[..] else { return };
        let with =
            AdamW { lr: 1e-4, weight_decay: 0.04, beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 5, grad_scale: 1.0 };
        self.time("adamw with teacher", bytes(10), || {
            let teacher = Some((&mut teacher[..], 0.996));
            self.cpu.adamw(Update { value, grad, first, second, teacher }, with);
        });
        self.time("average", bytes(3), || self.cpu.average(value, 0.996, teacher));
        self.time("sum_of_squares", bytes(1), || {
            black_box(self.cpu.sum_of_squares(value));
        });
    }
}
