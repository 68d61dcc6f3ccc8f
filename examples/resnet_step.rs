//! Measures forward and backward of a ResNet on 224-pixel images, to hold against `bench/peers/resnet_step.py`.
//!
//! `cargo run --release --example resnet_step [bf16] [depth] [batch] [threads]` prints one line of JSON: the median of ten steps
//! after three to warm up, by the clock and (Linux) in processor time, and the ceilings of the machine. On a machine that others
//! use, processor time on one thread is what can be compared.
use std::time::Instant;

use dinoxide::nn::init::Registry;
use dinoxide::nn::resnet::{ResNet, ResNetConfig};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::Normalize;
use dinoxide_engine::tape::{Images, Tape};
use dinoxide_engine::tensor::Pool;

const SIDE: usize = 224;
const WARM_UP: usize = 3;
const STEPS: usize = 10;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let half = words.iter().any(|word| word == "bf16");
    let numbers: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let number = |place: usize, default: usize| numbers.get(place).copied().unwrap_or(default);
    let (depth, batch, threads) = (number(0, 50), number(1, 8), number(2, 2));
    let cpu = if half { Cpu::bf16() } else { Some(Cpu::new()) };
    let cpu = cpu.ok_or_else(|| anyhow::anyhow!("this processor multiplies no bf16"))?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let (ms, cpu_ms) = pool.install(|| steps(&cpu, depth, batch))?;
    let (peak, memory) = pool.install(|| (cpu.peak_flops() / 1e9, cpu.peak_memory_rate() / 1e9));
    let dtype = if half { "bf16" } else { "f32" };
    println!(
        "{{\"program\": \"dinoxide\", \"depth\": {depth}, \"batch\": {batch}, \"threads\": {threads}, \"dtype\": \"{dtype}\", \
         \"ms\": {ms:.1}, \"cpu_ms\": {cpu_ms:.1}, \"peak_gflops\": {peak:.0}, \"peak_gbs\": {memory:.0}}}"
    );
    Ok(())
}

/// Milliseconds of one step, by the clock and of the processor.
fn steps(cpu: &Cpu, depth: usize, batch: usize) -> anyhow::Result<(f64, f64)> {
    let normalize = Normalize { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] };
    let config = ResNetConfig::of_depth(depth, 1, normalize);
    let config = config.ok_or_else(|| anyhow::anyhow!("there is no ResNet of {depth} layers"))?;
    let mut registry = Registry::new();
    let network = ResNet::new(config, "", &mut registry);
    let (params, pool) = (registry.finish(0), Pool::new());
    let pixels: Vec<u8> = (0..batch * SIDE * SIDE * 3).map(|i| ((i * 2_654_435_761) >> 13) as u8).collect();
    let mut grads = vec![0.0; params.values().len()];
    let mut times = Vec::new();
    for _ in 0..WARM_UP + STEPS {
        let (begun, used) = (Instant::now(), processor_ms());
        let mut tape = Tape::train(cpu, &params, &pool);
        let images = Images { pixels: &pixels, patches: network.patches(batch, SIDE, SIDE) };
        let features = network.features(&mut tape, images);
        let gradient = features.values().to_vec();
        tape.backward_from(&features, &gradient, &mut grads);
        times.push((1e3 * begun.elapsed().as_secs_f64(), processor_ms() - used));
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[STEPS / 2]
    };
    let (wall, processor) = times.split_off(WARM_UP).into_iter().unzip();
    Ok((median(wall), median(processor)))
}

/// Milliseconds that all threads of this process have run; 0 where the system does not tell.
fn processor_ms() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let texts = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    let nanoseconds = texts.filter_map(|text| text.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.sum::<f64>() / 1e6
}
