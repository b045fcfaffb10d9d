//! The location's product list: being listed is what makes an order valid.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::{Database, Error};

impl Database {
    /// Stores the location's product list, which replaces the one before; if it is not `whole`, nothing is removed. Products are
    /// `(id, name, image)`. Returns the ids that are listed then.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn replace_products(
        &self,
        products: &[(String, Option<String>, Option<String>)],
        whole: bool,
    ) -> Result<HashSet<String>, Error> {
        #[derive(Deserialize)]
        struct Replaced {
            product_ids: HashSet<String>,
        }
        let products: Vec<_> = products
            .iter()
            .map(|(id, name, image)| json!({ "product_id": id, "name": name, "image": image }))
            .collect();
        let request = json!({ "products": products, "whole": whole });
        Ok(self.call::<Replaced>("replace_products", request).await?.product_ids)
    }

    /// The stored product list, and when it was read from GHL.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_products(&self) -> Result<(HashSet<String>, Option<Timestamp>), Error> {
        #[derive(Deserialize)]
        struct Products {
            product_ids: HashSet<String>,
            refreshed_at: Option<Timestamp>,
        }
        let products: Products = self.call("list_products", json!({})).await?;
        Ok((products.product_ids, products.refreshed_at))
    }
}
