//! Both implementations on the same values.

/// Runs a function that is generic over the element type on both implementations (a closure cannot be generic).
macro_rules! agree {
    ($function:ident($($argument:expr),*), scale $scale:expr, tolerance $tolerance:expr) => {{
        let values = || $crate::Values(rand::SeedableRng::seed_from_u64(7), $scale);
        let cpu = $function::<f32>(&dinoxide_engine::cpu::Cpu::new(), &mut values(), $($argument),*);
        let again = $function::<f32>(&dinoxide_engine::cpu::Cpu::new(), &mut values(), $($argument),*);
        let reference = $function::<f64>(&dinoxide_engine::reference::Reference, &mut values(), $($argument),*);
        let case = format!("{}{:?} scale {}", stringify!($function), ($($argument,)*), $scale);
        $crate::compare(&case, cpu, again, reference, $tolerance);
    }};
    ($function:ident($($argument:expr),*)) => {{
        agree!($function($($argument),*), scale 1.0, tolerance $crate::TOLERANCE);
    }};
}
