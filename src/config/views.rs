//! The augmentation section of the configuration is the views crate's own recipe.

pub use dinoxide_views::recipe::{
    CropRecipe as CropConfig, JitterRecipe as ColorJitterConfig, ViewRecipe as ViewsConfig,
};
