//! Writes the demo's data set into a folder.
fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let counts = dinoxide::demo::Counts { train: args[2].parse()?, val: args[3].parse()? };
    let start = std::time::Instant::now();
    dinoxide::demo::write(args[1].as_ref(), &counts, args[4].parse()?, 0)?;
    println!("{:?}", start.elapsed());
    Ok(())
}
