//! `attention --video` and `pca --video`: frames in, GIFs, PNG files and, where ffmpeg is installed, video files out.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod untrained;

use std::path::{Path, PathBuf};
use std::process::Command;

use dinoxide::report::pca_sheet::Upsampling;
use dinoxide::run::RunError;
use dinoxide::run::input::{ImageSize, Network};
use dinoxide::run::video::attention::{AttentionView, attention_video};
use dinoxide::run::video::pca::pca_video;
use dinoxide::run::video::{VideoReport, VideoRequest};
use image::{AnimationDecoder as _, Rgb, RgbImage};

const MASS: f64 = 0.6;

fn write_frames(folder: &Path, count: u32, size: (u32, u32)) {
    std::fs::create_dir_all(folder).unwrap();
    for number in 0..count {
        let inside = |x: u32, y: u32| (8 + 4 * number..24 + 4 * number).contains(&x) && (10..28).contains(&y);
        let colour =
            |x: u32, y: u32| if inside(x, y) { Rgb([230, 30, 20]) } else { Rgb([(x * 3) as u8, 90, (y * 5) as u8]) };
        RgbImage::from_fn(size.0, size.1, colour).save(folder.join(format!("{number:03}.png"))).unwrap();
    }
}

fn request(place: &Path, input: &Path, out: &str) -> VideoRequest {
    let model = untrained::changed_run_folder(place, 32, |name, values| {
        if name.ends_with("proj.weight") || name.ends_with("qkv.weight") {
            values.iter_mut().for_each(|value| *value *= 10.0);
        }
    });
    VideoRequest {
        model,
        input: vec![input.display().to_string()],
        out: place.join(out),
        fps: None,
        side: None,
        image_size: None,
        network: Network::Teacher,
    }
}

/// Sizes and delays (hundredths of a second) of the frames of a GIF.
fn frames(path: &Path) -> Vec<((u32, u32), u32)> {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let decoder = image::codecs::gif::GifDecoder::new(file).unwrap();
    let of = |frame: image::Frame| {
        let (over, under) = frame.delay().numer_denom_ms();
        (frame.buffer().dimensions(), over / under / 10)
    };
    decoder.into_frames().map(|frame| of(frame.unwrap())).collect()
}

fn said(result: Result<VideoReport, RunError>) -> String {
    result.err().unwrap().to_string()
}

fn ffmpeg() -> bool {
    ["ffmpeg", "ffprobe"].iter().all(|program| Command::new(program).arg("-version").output().is_ok())
}

#[test]
fn attention_becomes_a_gif_as_fast_as_asked_for() {
    let place = tempfile::tempdir().unwrap();
    let input = place.path().join("frames");
    write_frames(&input, 5, (75, 42));

    let report = attention_video(&request(place.path(), &input, "mean.gif"), AttentionView::Mean, MASS).unwrap();

    // Cropped to whole patches of 8; 30 frames a second are 3, 4 and 3 hundredths.
    assert_eq!((report.frames, report.fps, report.size), (5, 30.0, (72, 40)));
    let delays: Vec<u32> = frames(&report.out).iter().map(|(_, delay)| *delay).collect();
    assert_eq!((delays.len(), delays.iter().sum::<u32>()), (5, 17));
    let slow = VideoRequest { fps: Some(5.0), side: Some(36), ..request(place.path(), &input, "deep/er/slow.gif") };
    let report = attention_video(&slow, AttentionView::Overlay, MASS).unwrap();
    assert_eq!(frames(&report.out), [((36, 20), 20); 5]);
}

#[test]
fn every_view_becomes_png_files_that_differ() {
    let place = tempfile::tempdir().unwrap();
    let input = place.path().join("frames");
    write_frames(&input, 2, (64, 40));
    let mut pictures = Vec::new();
    let views = [AttentionView::Mean, AttentionView::Overlay, AttentionView::Mask, AttentionView::Heads];
    for (number, view) in views.into_iter().enumerate() {
        let out = format!("view-{number}");
        let report = attention_video(&request(place.path(), &input, &out), view, MASS).unwrap();
        assert!(report.out.join("00002.png").is_file());
        pictures.push(image::open(report.out.join("00001.png")).unwrap().into_rgb8());
    }
    assert_eq!(pictures[0].dimensions(), (64, 40));
    // The frame and three heads, side by side.
    assert!(pictures[3].width() > 4 * 64, "{:?}", pictures[3].dimensions());
    for (a, b) in [(0, 1), (1, 2), (0, 2)] {
        assert_ne!(pictures[a], pictures[b]);
    }
}

#[test]
fn equal_frames_have_equal_colours_wherever_they_stand() {
    let place = tempfile::tempdir().unwrap();
    let input = place.path().join("frames");
    write_frames(&input, 12, (64, 40));
    std::fs::copy(input.join("000.png"), input.join("011.png")).unwrap();

    let report = pca_video(&request(place.path(), &input, "pca"), Upsampling::Nearest).unwrap();

    assert_eq!(report.frames, 12);
    let frame = |number: usize| image::open(report.out.join(format!("{number:05}.png"))).unwrap().into_rgb8();
    assert_eq!(frame(1), frame(12));
    assert_ne!(frame(1), frame(6));
    let right = image::imageops::crop_imm(&frame(1), 76, 6, 64, 40).to_image();
    assert!(right.pixels().any(|pixel| pixel != right.get_pixel(0, 0)), "more than one colour");
}

#[test]
fn odd_frames_and_names_are_said() {
    let place = tempfile::tempdir().unwrap();
    let input = place.path().join("frames");
    write_frames(&input, 2, (64, 40));
    let film = |out: &str| attention_video(&request(place.path(), &input, out), AttentionView::Mean, MASS);
    assert!(said(film("film.xyz")).contains("`.gif`"));
    assert!(said(film("frames")).contains("is not empty"), "frames would replace themselves");
    let itself = request(place.path(), &input.join("000.png"), "frames/000.png");
    assert!(said(attention_video(&itself, AttentionView::Mean, MASS)).contains("another name"));
    std::fs::write(input.join("002.png"), "no picture").unwrap();
    assert_eq!((film("a.gif").unwrap().frames, film("a.gif").unwrap().skipped), (2, 1));
    RgbImage::new(32, 32).save(input.join("003.png")).unwrap();
    let text = said(film("b.gif"));
    assert!(text.contains("32x32") && text.contains("64x40") && text.contains("--image-size"), "{text}");
    assert!(!place.path().join("b.gif").exists(), "nothing half done");
    let sized = VideoRequest {
        image_size: Some(ImageSize { width: 32, height: 24 }),
        ..request(place.path(), &input, "b.gif")
    };
    assert_eq!(attention_video(&sized, AttentionView::Mean, MASS).unwrap().frames, 3);
    let broken = place.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("0.png"), "no picture").unwrap();
    let none = request(place.path(), &broken, "c.gif");
    assert!(said(attention_video(&none, AttentionView::Mean, MASS)).contains("no frame"));
}

/// The program itself, in an environment without other programs.
#[test]
fn without_ffmpeg_video_files_are_refused_with_a_way_out() {
    let place = tempfile::tempdir().unwrap();
    let input = place.path().join("frames");
    write_frames(&input, 2, (64, 40));
    let model = untrained::run_folder(place.path(), 32);
    let film = place.path().join("film.mp4");
    std::fs::write(&film, "no video").unwrap();
    let run = |input: &Path, out: PathBuf| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
        command.env("PATH", place.path()).arg("attention").arg(&model).arg(input).arg("--video").arg(out);
        String::from_utf8_lossy(&command.output().unwrap().stderr).into_owned()
    };
    let text = run(&film, place.path().join("a.gif"));
    assert!(text.contains("not installed") && text.contains("frames/%05d.png"), "{text}");
    let text = run(&input, place.path().join("a.mp4"));
    assert!(text.contains("not installed") && text.contains("`.gif`"), "{text}");
    if ffmpeg() {
        let text = said(pca_video(&request(place.path(), &film, "a.gif"), Upsampling::Nearest));
        assert!(text.contains("cannot read"), "{text}");
    }
}

#[test]
fn video_files_go_in_and_out_through_ffmpeg() {
    if !ffmpeg() {
        println!("skipped: ffmpeg is not installed");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let input = place.path().join("frames");
    write_frames(&input, 10, (64, 40));
    let first = VideoRequest { fps: Some(12.0), ..request(place.path(), &input, "film.mp4") };
    let report = attention_video(&first, AttentionView::Overlay, MASS).unwrap();
    assert_eq!((report.frames, report.size), (10, (64, 40)));

    let again = attention_video(&request(place.path(), &report.out, "again.gif"), AttentionView::Mean, MASS).unwrap();
    let pca = pca_video(&request(place.path(), &report.out, "pca.gif"), Upsampling::Smooth).unwrap();

    // The speed is that of the file.
    assert_eq!((again.frames, again.fps), (10, 12.0));
    assert_eq!(pca.frames, 10);
    let left: Vec<PathBuf> = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.iter().all(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.')), "{left:?}");
}
