/// A form whose values a schema checks here and the server checks again: both kinds of messages stand beside the fields.
import { valibotResolver } from '@hookform/resolvers/valibot';
import {
  useForm,
  type DefaultValues,
  type FieldValues,
  type Path,
  type UseFormReturn,
} from 'react-hook-form';
import type { GenericSchema } from 'valibot';
import { forForm, toProblem } from '../app/problem.ts';

interface ServerForm<Values extends FieldValues> extends UseFormReturn<Values> {
  /** An `onSubmit` that runs `send` with values the schema accepts, and shows what it throws. */
  submitting: (send: (values: Values) => Promise<void>) => (event: React.SyntheticEvent) => void;
  /** The message of a field. */
  message: (field: Path<Values>) => string | undefined;
  /** The message for the form as a whole. */
  problem: string | undefined;
}

export function useServerForm<Values extends FieldValues>(
  schema: GenericSchema<Values, Values>,
  defaultValues: DefaultValues<Values>,
): ServerForm<Values> {
  const form = useForm<Values>({ resolver: valibotResolver(schema), defaultValues });
  const { errors } = form.formState;
  const fields = Object.keys(defaultValues) as Path<Values>[];

  const submitting = (send: (values: Values) => Promise<void>) => {
    const submit = form.handleSubmit(async (values) => {
      try {
        await send(values);
      } catch (error) {
        const { byField, whole } = forForm(toProblem(error), fields);
        byField.forEach(([field, message], index) =>
          form.setError(field, { message }, { shouldFocus: index === 0 }),
        );
        if (whole !== null) form.setError('root', { message: whole });
      }
    });
    return (event: React.SyntheticEvent) => {
      event.preventDefault();
      if (!form.formState.isSubmitting) void submit(event);
    };
  };

  return {
    ...form,
    submitting,
    message: (field) => form.getFieldState(field, form.formState).error?.message,
    problem: errors.root?.message,
  };
}
