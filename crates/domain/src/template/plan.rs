//! What a job makes: the default plan, in order (contract §5).

use super::names::{Audience, Category};

/// One template of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanItem {
    /// Its category.
    pub category: Category,
    /// Its audience.
    pub audience: Audience,
}

const fn item(category: Category, audience: Audience) -> PlanItem {
    PlanItem { category, audience }
}

/// The default plan of a job, in order.
pub const PLAN: [PlanItem; 7] = [
    item(Category::RoiFocused, Audience::HealthPlan),
    item(Category::RoiFocused, Audience::Broker),
    item(Category::ClinicalOutcomes, Audience::HealthPlan),
    item(Category::ClinicalOutcomes, Audience::MedicalManagement),
    item(Category::OperationalEfficiency, Audience::MedicalManagement),
    item(Category::CompetitivePositioning, Audience::Broker),
    item(Category::Comprehensive, Audience::Tpa),
];
