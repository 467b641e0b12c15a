"""A view that goes wrong after it was given values that are about to be sealed."""

from django.apps import apps
from django.forms import modelform_factory


def broken(request):
    customer = apps.get_model("sealed_shop", "Customer")
    fields = ["tenant_id", "email", "plan", "notes", "extra"]
    form = modelform_factory(customer, fields=fields)(request.POST)
    valid = form.is_valid()
    given = {"email": request.POST["email"], "wanted": request.GET["q"], "valid": valid}
    row = customer(**form.cleaned_data)
    row.nothing(given)
