//! Contact sheets: where images land.
use dinoxide_views::Rgb8;
use dinoxide_views::sheet::{SheetStyle, compose, fit};

#[test]
fn images_are_centered_in_cells_as_large_as_their_row_and_column() {
    let rows = [vec![Rgb8::filled(4, 2, [1; 3]), Rgb8::filled(2, 2, [2; 3])], vec![Rgb8::filled(2, 6, [3; 3])]];
    let sheet = compose(&rows, SheetStyle { padding: 1, background: [255; 3] });
    assert_eq!((sheet.width, sheet.height), (1 + 4 + 1 + 2 + 1, 1 + 2 + 1 + 6 + 1));
    assert_eq!(
        sheet.row(1),
        [[255; 3], [1; 3], [1; 3], [1; 3], [1; 3], [255; 3], [2; 3], [2; 3], [255; 3]].as_flattened()
    );
    let third = [[255; 3], [255; 3], [3; 3], [3; 3], [255; 3], [255; 3], [255; 3], [255; 3], [255; 3]];
    assert_eq!(sheet.row(4), third.as_flattened());
}

#[test]
fn only_images_that_are_too_large_shrink() {
    let wide = fit(&Rgb8::filled(300, 2, [7; 3]), 100);
    assert_eq!((wide.width, wide.height), (100, 1));
    assert_eq!(fit(&wide, 100), wide);
}
