//! The map as one page: an SVG with thumbnails that is readable as it is, and a little script that moves and enlarges it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Layout, Map, group_colour};
use crate::report::picture::PictureError;
use crate::report::svg::{escape, put};

/// Width of the drawing in its own units.
const WIDTH: f64 = 1000.0;
/// Bytes that the page takes at most.
const PAGE_BYTES: usize = 8_000_000;
/// Bytes of markup of one image, about, besides its name and thumbnail.
const POINT_BYTES: usize = 230;
/// Sides of thumbnails in pixels, tried in this order until all fit.
const SIDES: [u32; 6] = [96, 64, 48, 40, 32, 24];
/// JPEG quality of the thumbnails.
const QUALITY: u8 = 78;
/// Side of an image on the drawing: as large as many fit beside each other, within these bounds.
const DRAWN: [f64; 2] = [9.0, 46.0];
const COVER: f64 = 0.5;

/// A map with its words.
#[derive(Debug, Clone, Default)]
pub struct MapPage {
    /// Heading.
    pub title: String,
    /// What is to be seen, in one sentence.
    pub sentence: String,
    /// How to read it.
    pub caption: String,
    /// What the groups are: `class` or `cluster`.
    pub kind: String,
    /// The images.
    pub map: Map,
}

/// Thumbnails as JPEG files; none for images that are drawn as dots.
struct Thumbnails {
    files: Vec<Option<Vec<u8>>>,
    shown: usize,
}

impl Thumbnails {
    /// The largest that fit into so many bytes; of the smallest only some, evenly spread.
    fn fitting(map: &Map, bytes: usize) -> Result<Self, PictureError> {
        let budget = bytes / 4 * 3; // Base64 writes three bytes as four.
        let mut files: Vec<Vec<u8>> = Vec::new();
        for side in SIDES {
            let small = |point: &super::MapPoint| {
                let side = side.min(point.thumbnail.width());
                point.thumbnail.resized(side, side).to_jpeg_of(QUALITY)
            };
            files = map.points.iter().map(small).collect::<Result<_, _>>()?;
            if files.iter().map(Vec::len).sum::<usize>() <= budget {
                return Ok(Self { shown: files.len(), files: files.into_iter().map(Some).collect() });
            }
        }
        let total: usize = files.iter().map(Vec::len).sum();
        let stride = total.div_ceil(budget.max(1));
        let thinned = |(number, file): (usize, Vec<u8>)| number.is_multiple_of(stride).then_some(file);
        let files: Vec<Option<Vec<u8>>> = files.into_iter().enumerate().map(thinned).collect();
        Ok(Self { shown: files.iter().flatten().count(), files })
    }
}

impl MapPage {
    /// The page as HTML, below 8 MB.
    ///
    /// # Errors
    /// If a thumbnail cannot be encoded.
    pub fn to_html(&self) -> Result<String, PictureError> {
        let names: usize = self.map.points.iter().map(|point| 2 * point.name.len() + POINT_BYTES).sum();
        let thumbnails = Thumbnails::fitting(&self.map, PAGE_BYTES.saturating_sub(names + 40_000))?;
        let (title, caption) = (escape(&self.title), escape(&self.caption));
        let count = self.map.points.len();
        let shown = match thumbnails.shown {
            shown if shown == count => format!("All {count} images are shown."),
            shown => {
                format!("{shown} of {count} images are shown as pictures, the others as dots: the page stays small.")
            }
        };
        let (page_style, map_style) = (include_str!("../page.css"), include_str!("map.css"));
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{page_style}{map_style}"
        );
        for group in 0..self.map.groups.len() {
            let [red, green, blue] = group_colour(group);
            put(&mut out, format_args!(".g{group} {{ --c: rgb({red} {green} {blue}); }}\n"));
        }
        put(
            &mut out,
            format_args!(
                "</style>\n</head>\n<body>\n<main class=\"map\">\n<h1>{title}</h1>\n<div class=\"verdict plain\"><span>{}\
                 </span></div>\n<p class=\"note\">{caption} {shown} <span id=\"how\" hidden>Drag to move, wheel or pinch to \
                 enlarge, point at an image to see its name, click a {} to single it out.</span></p>\n",
                escape(&self.sentence),
                escape(&self.kind)
            ),
        );
        self.write_legend(&mut out);
        self.write_drawing(&mut out, &thumbnails);
        put(&mut out, format_args!("</main>\n<script>\n{}</script>\n</body>\n</html>\n", include_str!("map.js")));
        Ok(out)
    }

    fn write_legend(&self, out: &mut String) {
        out.push_str("<ul class=\"legend\">\n");
        for (number, group) in self.map.groups.iter().enumerate() {
            let (name, count) = (escape(&group.name), group.count);
            put(
                out,
                format_args!("<li class=\"g{number}\" data-group=\"{number}\"><i></i>{name} <b>{count}</b></li>\n"),
            );
        }
        out.push_str("</ul>\n");
    }

    fn write_drawing(&self, out: &mut String, thumbnails: &Thumbnails) {
        let points = &self.map.points;
        let area = WIDTH * WIDTH * super::HEIGHT[0];
        let side = (COVER * area / points.len().max(1) as f64).sqrt().clamp(DRAWN[0], DRAWN[1]);
        let layout = Layout::new(points, WIDTH, side);
        let (half, radius) = (side / 2.0, side / 5.0);
        put(
            out,
            format_args!(
                "<div class=\"frame\"><div class=\"buttons\" hidden><button id=\"in\" aria-label=\"enlarge\">+</button>\
                 <button id=\"out\" aria-label=\"shrink\">−</button><button id=\"all\">all</button></div>\n\
                 <div class=\"scroll\"><svg id=\"map\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\" \
                 style=\"--w:{:.2}px\">\n",
                layout.height,
                escape(&self.title),
                side / 14.0
            ),
        );
        for ((point, [x, y]), file) in points.iter().zip(&layout.places).zip(&thumbnails.files) {
            let group = point.group;
            let name = escape(&point.name);
            let label = self.map.groups.get(group).map_or_else(String::new, |group| escape(&group.name));
            put(
                out,
                format_args!(
                    "<g class=\"p g{group}\" transform=\"translate({x:.1} {y:.1})\"><title>{name} – {label}</title><g>"
                ),
            );
            match file {
                Some(file) => put(
                    out,
                    format_args!(
                        "<image x=\"-{half:.1}\" y=\"-{half:.1}\" width=\"{side:.1}\" height=\"{side:.1}\" \
                         href=\"data:image/jpeg;base64,{}\"/><rect x=\"-{half:.1}\" y=\"-{half:.1}\" width=\"{side:.1}\" \
                         height=\"{side:.1}\"/>",
                        STANDARD.encode(file)
                    ),
                ),
                None => put(out, format_args!("<circle r=\"{radius:.1}\"/>")),
            }
            out.push_str("</g></g>\n");
        }
        out.push_str("</svg></div><div id=\"tip\" hidden></div></div>\n");
    }
}
