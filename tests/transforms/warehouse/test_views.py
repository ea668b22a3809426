"""Views are written for any database and data set."""

from transforms.warehouse.views import VIEWS


def test_a_view_names_its_tables_within_the_dataset():
    for view in VIEWS:
        assert view.query("`p.d`.").count("`p.d`.") == view.sql.count("{dataset}") > 0


def test_a_view_comes_after_the_views_that_it_reads():
    names = [view.name for view in VIEWS]
    for place, view in enumerate(VIEWS):
        assert not [later for later in names[place:] if f"{{dataset}}{later}\n" in f"{view.sql}\n"]


def test_a_view_names_its_items_as_the_database_wants():
    (points,) = (view for view in VIEWS if view.name == "frame_curve_points")
    assert points.query().endswith("UNNEST(points) AS point")
    assert points.query(item="item({})").endswith("UNNEST(points) AS item(point)")
